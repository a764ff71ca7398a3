import shutil
import urllib.error
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils.fusion import fuse_conv_bn_weights  # noqa: E402
from torchvision.models import ResNet18_Weights, resnet18, resnet34  # noqa: E402

from fauxface.bundle import Bundle, write_manifest  # noqa: E402
from fauxface.errors import CheckpointError  # noqa: E402
from fauxface_train import checkpoint  # noqa: E402
from fauxface_train.model import Deployed, build  # noqa: E402
from fauxface_train.weights import _norm_of, initialise  # noqa: E402

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def source():
    """A two-label ResNet18 whose batch norms all differ from the identity."""
    torch.manual_seed(5)
    net = build()
    generator = torch.Generator().manual_seed(6)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.6, 1.2, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
    return net.eval()


def _folded(net):
    modules = dict(net.named_modules())
    arrays = {"fc.weight": net.fc.weight.detach().numpy(), "fc.bias": net.fc.bias.detach().numpy()}
    for name, conv in modules.items():
        if isinstance(conv, nn.Conv2d):
            norm = modules[_norm_of(name)]
            weight, bias = fuse_conv_bn_weights(
                conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            arrays[f"{name}.weight"], arrays[f"{name}.bias"] = weight.detach().numpy(), bias.detach().numpy()
    return arrays


@pytest.fixture(scope="module")
def folded(source):
    return _folded(source)


def _logits(net, faces):
    with torch.inference_mode():
        return Deployed(net).eval()(torch.from_numpy(faces))


@pytest.fixture
def exported(folded, tmp_path):
    """Write a bundle whose graph has the layers that export writes, and nothing that connects them."""

    def write(drop=(), rename=str):
        folder = tmp_path / "bundle"
        shutil.copytree(TINY, folder)
        nodes, tensors = [], []
        for name in sorted({key.rpartition(".")[0] for key in folded} - set(drop)):
            inputs = [rename(f"net.{name}.{part}") for part in ("weight", "bias")]
            values = [folded[f"{name}.{part}"] for part in ("weight", "bias")]
            tensors += [onnx.numpy_helper.from_array(v, i) for v, i in zip(values, inputs, strict=True)]
            kind = "Gemm" if name == "fc" else "Conv"
            nodes.append(onnx.helper.make_node(kind, ["x", *inputs], [f"{name}_out"]))
        graph = onnx.helper.make_graph(nodes, "g", [], [], tensors)
        (folder / "classifier.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
        document = Bundle.load(TINY).document()
        write_manifest(folder, document)
        return folder

    return write


def _absent():
    raise AssertionError("faces aren't needed here")


def test_none_changes_nothing():
    net = build()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    initial = initialise(net, "none", _absent)
    assert initial.sha256 is None
    assert initial.is_random("conv1.weight")
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".npz", "wrapped.pth"])
def test_whole_networks(suffix, source, faces, tmp_path):
    path = tmp_path / f"weights{suffix}"
    state = source.state_dict()
    if suffix == ".safetensors":
        save_file(state, path)
    elif suffix == ".npz":
        np.savez(path, **{k: v.numpy() for k, v in state.items()})
    elif suffix == "wrapped.pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    else:
        torch.save(state, path)
    net = build()
    initial = initialise(net, str(path), _absent)
    assert initial.fresh == ()
    assert len(initial.sha256) == 64
    assert torch.equal(_logits(net, faces), _logits(source, faces))


def test_a_head_of_other_labels_stays_fresh(tmp_path):
    torch.manual_seed(0)
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    net = build()
    assert initialise(net, str(tmp_path / "w.pth"), _absent).fresh == ("fc",)


def test_a_run_folder(source, faces, tmp_path):
    checkpoint.save(tmp_path / "best", source.state_dict(), checkpoint.describe(1.2))
    net = build()
    initialise(net, str(tmp_path), _absent)
    assert torch.equal(_logits(net, faces), _logits(source, faces))


def test_folded_batch_norm_computes_the_same_and_normalises(source, folded, faces, tmp_path):
    np.savez(tmp_path / "w.npz", **folded)
    net = build()
    assert initialise(net, str(tmp_path / "w.npz"), lambda: faces).fresh == ()
    torch.testing.assert_close(_logits(net, faces), _logits(source, faces), atol=1e-4, rtol=1e-4)
    unseen = np.ascontiguousarray(faces[:, ::-1])
    torch.testing.assert_close(_logits(net, unseen), _logits(source, unseen), atol=1e-4, rtol=1e-4)
    outputs = []
    hook = net.layer2[0].conv1.register_forward_hook(lambda _m, _i, out: outputs.append(out))
    _logits(net, faces)
    hook.remove()
    norm = net.layer2[0].bn1
    torch.testing.assert_close(norm.running_mean, outputs[0].mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        norm.running_var, outputs[0].var((0, 2, 3), correction=0), atol=1e-4, rtol=1e-3
    )


def test_absent_layers_are_reported_and_normalised(folded, faces, tmp_path):
    absent = ("layer4.0.conv1", "layer4.1.conv2")
    kept = {k: v for k, v in folded.items() if k.rpartition(".")[0] not in absent and not k.startswith("fc.")}
    np.savez(tmp_path / "w.npz", **kept, **{"layer4.0.conv1.bias": folded["layer4.0.conv1.bias"]})
    net = build()
    before = net.layer4[0].conv1.weight.clone()
    initial = initialise(net, str(tmp_path / "w.npz"), lambda: faces)
    assert initial.fresh == (*absent, "fc")
    random = {"layer4.0.conv1.weight", "layer4.0.bn1.bias", "layer4.1.bn2.weight", "fc.bias"}
    assert all(map(initial.is_random, random))
    assert not any(
        map(initial.is_random, ("conv1.weight", "layer4.0.bn2.bias", "layer4.0.downsample.1.bias"))
    )
    assert torch.equal(net.layer4[0].conv1.weight, before)
    assert torch.equal(net.layer4[0].bn1.weight, torch.ones(512))
    assert not torch.equal(net.layer4[0].bn1.running_var, torch.ones(512))


def test_a_bundles_weights_compute_the_same(source, exported, faces):
    net, folder = build(), exported()
    initial = initialise(net, str(folder), lambda: faces)
    assert (initial.kind, initial.sha256, initial.fresh) == ("bundle", Bundle.load(folder).sha256, ())
    torch.testing.assert_close(_logits(net, faces), _logits(source, faces), atol=1e-3, rtol=1e-3)


def test_the_shipped_weights_answer_the_golden_crops():
    net, (crops, expected) = build(), Bundle.load().golden()
    assert initialise(net, "shipped", lambda: crops).fresh == ()
    np.testing.assert_allclose(_logits(net, crops).numpy(), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"drop": ["conv1"]}, "conv1.weight is missing"),
        ({"rename": lambda name: name.replace("layer1", "block1")}, "is unknown"),
    ],
)
def test_other_bundles_are_refused(how, message, exported):
    with pytest.raises(CheckpointError, match=message) as caught:
        initialise(build(), str(exported(**how)), _absent)
    assert "\n" not in str(caught.value)


def test_the_graph_of_another_program_is_refused():
    with pytest.raises(CheckpointError, match="give") as caught:
        initialise(build(), str(TINY), _absent)
    assert "\n" not in str(caught.value)


def _broken(tmp_path, kind, folded):
    path = tmp_path / "w.pth"
    if kind == "missing":
        return path
    if kind == "resnet34":
        torch.save(resnet34(weights=None).state_dict(), path)
    elif kind == "shape":
        torch.save(build().state_dict() | {"conv1.weight": torch.zeros(64, 3, 3, 3)}, path)
    elif kind == "nan":
        torch.save(build().state_dict() | {"conv1.weight": torch.full((64, 3, 7, 7), float("nan"))}, path)
    elif kind == "object":
        torch.save(build(), path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "suffix":
        path = path.with_suffix(".bin")
        path.write_bytes(b"x")
    elif kind.startswith("junk"):
        path = path.with_suffix(kind.removeprefix("junk"))
        path.write_bytes(b"junk" * 20)
    elif kind.startswith("empty"):
        path = path.with_suffix(kind.removeprefix("empty"))
        path.write_bytes(b"")
    else:
        path = path.with_suffix(".npz")
        changes = {
            "npz unknown": {"layer9.conv1.weight": np.zeros(3, np.float32)},
            "npz shape": {"conv1.weight": np.zeros((64, 3, 3, 3), np.float32)},
            "npz bias": {"conv1.bias": np.zeros(3, np.float32)},
            "npz object": {"conv1.bias": np.array([None])},
        }
        np.savez(path, **(folded | changes[kind]))
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no weights at"),
        ("resnet34", "isn't a resnet18"),
        ("shape", r"conv1.weight is \[64, 3, 3, 3\]"),
        ("nan", "NaN"),
        ("object", "corrupt or holds more than weights"),
        ("list", "no state of named tensors"),
        ("suffix", "convert"),
        ("junk.pth", "corrupt"),
        ("junk.npz", "corrupt"),
        ("junk.safetensors", "corrupt"),
        ("empty.pth", "corrupt"),
        ("empty.npz", "corrupt"),
        ("empty.safetensors", "corrupt"),
        ("npz unknown", "layer9.conv1.weight is unknown"),
        ("npz shape", r"conv1.weight is \[64, 3, 3, 3\]"),
        ("npz bias", "no bias of 64 channels"),
        ("npz object", "corrupt"),
    ],
)
def test_refuses_with_one_line(kind, message, folded, faces, tmp_path):
    with pytest.raises(CheckpointError, match=message) as caught:
        initialise(build(), str(_broken(tmp_path, kind, folded)), lambda: faces)
    assert "\n" not in str(caught.value)


def test_download_failure_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", fail)
    with pytest.raises(CheckpointError, match=r"can't download .*no route to host.*--weights"):
        initialise(build(), "imagenet", _absent)
