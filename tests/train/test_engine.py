import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fauxface.errors import DataError  # noqa: E402
from fauxface_train.engine import Engine, disagreement, pick_device, pick_precision, rate  # noqa: E402
from fauxface_train.model import build  # noqa: E402
from fauxface_train.presets import PRESETS, preset  # noqa: E402
from fauxface_train.products import ProductConv  # noqa: E402
from fauxface_train.sampling import Plan  # noqa: E402
from fauxface_train.weights import Initial  # noqa: E402

RANDOM = Initial("none", None, ())


def test_article_learning_rate_falls_tenfold_each_epoch():
    recipe = preset("article")
    plan = Plan([0, 1] * 10, ["a"] * 20, recipe)
    assert [rate(recipe, plan, step) for step in (0, 4, 5, 9, 10, 14)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    )


def test_one_cycle_rises_and_falls():
    recipe = preset("robust")
    plan = Plan([0, 1] * 10, ["a"] * 20, recipe)
    rates = [rate(recipe, plan, step) for step in range(plan.steps)]
    top = int(np.argmax(rates))
    assert max(rates) == pytest.approx(recipe.lr)
    assert top / plan.steps == pytest.approx(recipe.warmup, abs=0.01)
    assert np.all(np.diff(rates[: top + 1]) > 0)
    assert np.all(np.diff(rates[top + 1 :]) < 0)
    assert rates[-1] < 0.002 * recipe.lr


def test_a_compiler_that_fails_is_said_and_harmless(monkeypatch):
    def broken(_module):
        def forward(_crops):
            raise RuntimeError("no C++ compiler\nsecond line")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    lines = []
    net = build()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    recipe = preset("robust").changed(batch=2, precision="fp32")
    engine = Engine(net, recipe, torch.device("cpu"), lines.append, RANDOM)
    assert not engine.compiled
    assert "no C++ compiler" in lines[-1]
    assert "second line" not in lines[-1]
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    loss = engine.step(torch.zeros(2, 128, 128, 3, dtype=torch.uint8), torch.tensor([0, 1]), 0.1, 0)
    assert torch.isfinite(loss)


def test_devices_and_precisions():
    cpu = torch.device("cpu")
    assert pick_device("cpu") == cpu
    assert pick_precision("bf16", cpu) == torch.bfloat16
    assert pick_precision("auto", cpu) in {torch.bfloat16, torch.float32}
    assert pick_precision("auto", torch.device("mps")) == torch.float32
    for name in ("warp", "xpu"):
        with pytest.raises(DataError, match=f"device '{name}'"):
            pick_device(name)


def test_a_graphics_card_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    one = torch.ones(1)
    monkeypatch.setattr(torch, "ones", lambda _, device: one.clone())
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    assert pick_device("auto") == torch.device("cuda")
    assert chosen == [torch.device("cuda", 1)]  # what asks for "cuda" alone means this one
    with pytest.raises(DataError, match="device 'cuda:2' isn't available"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_graphics_card_that_cannot_compute_is_refused(monkeypatch, name):
    def no_kernel(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch, "ones", no_kernel)
    with pytest.raises(DataError, match=r"can't be used: CUDA error: no kernel image .* device; free it"):
        pick_device(name)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_batch_that_does_not_fit_the_memory_is_one_line(monkeypatch, compiled):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    recipe = preset("robust").changed(batch=2, compile=compiled, precision="fp32")
    monkeypatch.setattr(Engine, "_loss", full)

    def train():
        made = Engine(build(), recipe, torch.device("cpu"), lambda _: None, RANDOM)
        made.step(torch.zeros(2, 128, 128, 3, dtype=torch.uint8), torch.tensor([0, 1]), 0.1, 0)

    with pytest.raises(
        DataError, match="a batch of 2 doesn't fit the memory of cpu; train with a smaller --batch"
    ):
        train()


def test_a_run_goes_on_in_half_precision_elsewhere():
    """A run of a processor has nothing to tell of the scaling of gradients that fp16 needs."""
    recipe = preset("robust").changed(batch=2, compile=False)
    first = Engine(build(), recipe.changed(precision="fp32"), torch.device("cpu"), print, RANDOM)
    second = Engine(build(), recipe.changed(precision="fp16"), torch.device("cpu"), print, RANDOM)
    state = first.state()
    second.restore(state)
    assert all(torch.equal(value, state["net"][name]) for name, value in second.net.state_dict().items())


def test_disagreement_is_the_angle_plus_the_symmetric_divergence():
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [1.0, 1.0]])
    scores = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]]))
    divergence = sum(0.5 * (p - q) * np.log(p / q) for p, q in [(0.5, 0.9), (0.5, 0.1)])
    assert float(disagreement(features, scores)) == pytest.approx((1 + divergence) / 2)
    same = torch.repeat_interleave(features[::2], 2, 0), torch.repeat_interleave(scores[::2], 2, 0)
    assert float(disagreement(*same)) == pytest.approx(0, abs=1e-6)


def test_article_is_the_reference_recipe():
    recipe = PRESETS["article"]
    engine = Engine(build(), recipe, torch.device("cpu"), print, RANDOM)
    assert isinstance(engine.optimizer, torch.optim.SGD)
    group = engine.optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.001, 0.9, 0)
    assert (recipe.batch, recipe.epochs, recipe.metric) == (4, 3, "accuracy")
    assert recipe.degradations is None
    assert not recipe.balanced
    assert engine.deployed.net is engine.net


@pytest.mark.parametrize("name", ["article", "robust"])
def test_layers_that_start_from_weights_learn_slower(name):
    net = build()
    recipe = preset(name).changed(batch=2, precision="fp32", compile=False, pretrained_lr=0.25)
    initial = Initial("npz", "0" * 64, ("layer4.1.conv2", "fc"))
    engine = Engine(net, recipe, torch.device("cpu"), print, initial)
    engine.step(torch.zeros(2, 128, 128, 3, dtype=torch.uint8), torch.tensor([0, 1]), 0.1, 0)
    groups = [(group["lr"], {id(p) for p in group["params"]}) for group in engine.optimizer.param_groups]
    slow = {
        key for key, p in net.named_parameters() if any(id(p) in ids for lr, ids in groups if lr == 0.025)
    }
    fast = {key for key, p in net.named_parameters() if any(id(p) in ids for lr, ids in groups if lr == 0.1)}
    assert fast == {
        "layer4.1.conv2.weight",
        "layer4.1.bn2.weight",
        "layer4.1.bn2.bias",
        "fc.weight",
        "fc.bias",
    }
    assert slow == {key for key, _ in net.named_parameters()} - fast


@pytest.mark.parametrize("name", ["article", "robust"])
def test_a_network_without_given_weights_has_one_learning_rate(name):
    recipe = preset(name).changed(batch=2, precision="fp32", compile=False, pretrained_lr=0.25)
    engine = Engine(build(), recipe, torch.device("cpu"), print, RANDOM)
    engine.step(torch.zeros(2, 128, 128, 3, dtype=torch.uint8), torch.tensor([0, 1]), 0.1, 0)
    assert {group["lr"] for group in engine.optimizer.param_groups} == {0.1}


def test_products_train_the_same_network(monkeypatch):
    """A processor on which matrix products pay trains, averages and saves the very same layers."""
    recipe = preset("robust").changed(batch=2, precision="fp32", compile=False, optimizer="sgd")
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8))
    states = []
    for value in (False, True):
        monkeypatch.setattr("fauxface_train.engine.pays", lambda *_, value=value: value)
        torch.manual_seed(0)
        engine = Engine(build(), recipe, torch.device("cpu"), print, RANDOM)
        engine.step(crops, torch.tensor([0, 1]), 1e-2, 0)
        assert any(isinstance(module, ProductConv) for module in engine.net.modules()) is value
        assert not any(isinstance(module, ProductConv) for module in engine.deployed.modules())
        states.append(engine.deployed.net.state_dict())
    assert list(states[0]) == list(states[1])
    for name, expected in states[0].items():
        torch.testing.assert_close(states[1][name], expected, rtol=1e-3, atol=1e-5, msg=name)
