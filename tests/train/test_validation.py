import contextlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fauxface.errors import DataError  # noqa: E402
from fauxface_train import validation  # noqa: E402
from fauxface_train.dataset import PreparedData, load_crop  # noqa: E402
from fauxface_train.presets import Degradations, preset  # noqa: E402


def test_validation_sees_the_runtime_crop(prepared):
    samples = PreparedData.load(prepared).samples("val")
    val = validation.prepare(samples, Degradations())
    assert np.array_equal(val.clean, np.stack([load_crop(s) for s in samples]))
    assert val.degraded.shape == val.clean.shape
    assert validation.prepare(samples, None).degraded is None


def test_a_degraded_view_hangs_on_its_picture_alone(prepared):
    samples = PreparedData.load(prepared).samples("val")
    whole = validation.prepare(samples, Degradations())
    fewer = validation.prepare(samples[1:], Degradations())
    assert np.array_equal(fewer.degraded, whole.degraded[1:])
    assert not np.array_equal(whole.degraded, whole.clean)


def test_runs_of_other_strengths_are_measured_by_the_same_degradations():
    usual = preset("robust").usual_degradations
    light = preset("robust").changed(degradations=Degradations().scaled(0.1))
    assert light.usual_degradations == usual == preset("robust").degradations
    assert preset("article").usual_degradations is None


def test_what_was_not_degraded_has_no_such_figure(prepared):
    samples = PreparedData.load(prepared).samples("val")

    def score(crops):
        return np.stack([np.zeros(len(crops)), crops[:, 64, 64, 0]], 1).astype(np.float32)

    assert "degraded_auroc" not in validation.measured(validation.prepare(samples, None), score)
    assert "degraded_auroc" in validation.measured(validation.prepare(samples, Degradations()), score)
    with pytest.raises(DataError, match="degraded_auroc needs degradations"):
        preset("article").changed(metric="degraded_auroc")


def test_small_sources_choose_no_checkpoint():
    """Of many small sources the worst is the unluckiest: ten of 12 pictures say less than all of them."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    sources = np.array([f"s{index // 12}" for index in range(120)])
    scores = np.stack([np.zeros(120), rng.normal(labels * 2.0)], 1).astype(np.float32)
    metrics = validation.measure(scores, labels, sources)
    assert validation.per_source(scores[:, 1], labels, sources) == {}
    assert metrics["worst_source_auroc"] == metrics["auroc"]


def test_worst_source_is_the_lowest_of_the_large_ones():
    sources = np.array(["easy"] * 50 + ["hard"] * 50 + ["tiny"] * 3 + ["gan"] * 60)
    labels = np.array([0] * 103 + [1] * 60)
    margin = np.concatenate([np.full(50, -1.0), np.tile([-1.0, 3.0], 25), np.full(3, 9.0), np.full(60, 1.0)])
    scores = np.stack([np.zeros(163), margin], 1).astype(np.float32)
    metrics = validation.measure(scores, labels, sources)
    assert validation.per_source(margin, labels, sources) == pytest.approx(
        {"easy/real": 1.0, "hard/real": 0.5, "gan/fake": 75 / 103}
    )
    assert metrics["worst_source_auroc"] == pytest.approx(0.5)
    assert metrics["accuracy"] == pytest.approx(135 / 163)
    assert metrics["balanced_accuracy"] == pytest.approx((75 / 103 + 1) / 2)


def test_a_name_in_both_labels_is_two_sources():
    """36 and 5 pictures of one name are two small sources, not one large enough to choose a checkpoint by."""
    sources = np.array(["mine"] * 41 + ["big"] * 80)
    labels = np.array([0] * 36 + [1] * 5 + [0] * 40 + [1] * 40)
    found = validation.per_source(np.where(labels == 1, 1.0, -1.0), labels, sources)
    assert set(found) == {"big/real", "big/fake"}


@pytest.mark.parametrize("mixed", [True, False])
def test_only_mixed_precision_may_round_to_tf32(mixed):
    class Precise(torch.nn.Module):
        def forward(self, crops):
            return torch.full((len(crops), 2), float(torch.backends.cudnn.allow_tf32))

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        autocast = contextlib.nullcontext if mixed else None
        crops = np.zeros((3, 128, 128, 3), np.uint8)
        found = validation.logits(Precise(), crops, torch.device("cpu"), autocast)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert found.tolist() == [[float(mixed)] * 2] * 3
