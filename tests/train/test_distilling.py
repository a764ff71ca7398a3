from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fauxface.errors import CheckpointError, DataError  # noqa: E402
from fauxface.verdicts import Calibration  # noqa: E402
from fauxface_train import checkpoint  # noqa: E402
from fauxface_train.distilling import SOFTENING, Teachers, divergence  # noqa: E402
from fauxface_train.engine import Engine  # noqa: E402
from fauxface_train.model import build  # noqa: E402
from fauxface_train.presets import preset  # noqa: E402
from fauxface_train.weights import Initial  # noqa: E402

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"
CPU = torch.device("cpu")
MARGIN = 1.2
IDENTITY = Calibration()


def cut_with(margin):
    return SimpleNamespace(root="data", margin=margin, whole=False)


DATA = cut_with(MARGIN)


def _of_left_side(calibration=IDENTITY):
    """Return a scorer whose logits are the red of a picture's left half, over 100."""

    def logits(crops):
        red = crops[:, :, :64, 0].mean((1, 2)) / 100
        return np.stack([np.zeros_like(red), red], axis=1).astype(np.float32)

    return SimpleNamespace(logits=logits, calibration=calibration)


def _crops(*halves):
    crops = np.zeros((len(halves), 128, 128, 3), np.uint8)
    for crop, (left, right) in zip(crops, halves, strict=True):
        crop[:, :64, 0], crop[:, 64:, 0] = left, right
    return crops


def test_teachers_see_picture_and_mirror_image_in_turns():
    crops = _crops((100, 200), (50, 0))
    one = Teachers((_of_left_side(),))
    assert one.log_odds(crops, 0).tolist() == [1, 0.5]
    assert one.log_odds(crops, 1).tolist() == [2, 0]
    assert one.log_odds(crops, 0).dtype == np.float32
    two = Teachers((_of_left_side(), _of_left_side(Calibration(0.5, -1))))
    assert two.log_odds(crops, 0).tolist() == [(1 + 3) / 2, (0.5 - 1) / 2]
    assert two.log_odds(crops, 1).tolist() == [(2 + 1) / 2, (0 + 0) / 2]


@pytest.mark.parametrize(("given", "wanted"), [(0.0, 0.0), (3.0, 3.0), (0.0, 2.0), (-4.0, 1.0)])
def test_divergence_is_that_of_softened_probabilities(given, wanted):
    p, q = (1 / (1 + np.exp(-odds / SOFTENING)) for odds in (wanted, given))
    expected = SOFTENING**2 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    scores = torch.tensor([[1.0, 1.0 + given], [-2.0, -2.0 + given]])
    found = divergence(scores, torch.full((2,), wanted))
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_divergence_of_sure_answers_is_finite():
    scores = torch.tensor([[0.0, 1000.0]], requires_grad=True)
    found = divergence(scores, torch.tensor([-1000.0]))
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("mixed", [0.0, 0.5])
def test_the_loss_is_shared_by_labels_and_teachers(mixed):
    """What the teachers see is what the network sees, parts of other pictures and all."""
    seen = []

    def log_odds(crops):
        seen.append(crops)
        return _of_left_side().logits(crops)

    teacher = SimpleNamespace(logits=log_odds, calibration=Calibration())
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), np.uint8))
    labels = torch.arange(8) % 2
    losses = {}
    for weight in (0.0, 0.25, 1.0):
        torch.manual_seed(0)
        recipe = preset("robust").changed(
            batch=8, precision="fp32", compile=False, taught=weight, mixed=mixed
        )
        engine = Engine(build(), recipe, CPU, print, Initial("none", None, ()), teachers=Teachers((teacher,)))
        losses[weight] = float(engine.step(crops, labels, 0.001, 0))
    assert losses[0.25] == pytest.approx(0.75 * losses[0.0] + 0.25 * losses[1.0], rel=1e-5)
    assert len(seen) == 2  # none without weight
    changed = (seen[0] != crops.numpy()).any((1, 2, 3)).sum()
    assert changed == round(8 * mixed)


@pytest.mark.parametrize(
    ("models", "weight", "data", "error", "message"),
    [
        ([], 0.5, DATA, DataError, "that needs teachers"),
        ([TINY], 0.0, DATA, DataError, "weight above 0"),
        ([TINY], 0.5, cut_with(1.0), DataError, "cut with margin 1, the teacher .* wants 1.2"),
        (["absent"], 0.5, DATA, CheckpointError, "no model at absent"),
    ],
)
def test_bad_teachers_are_one_line(models, weight, data, error, message):
    with pytest.raises(error, match=message) as caught:
        Teachers.load(models, weight, CPU, data)
    assert "\n" not in str(caught.value)


def test_a_teacher_that_is_not_calibrated_is_refused(tmp_path):
    info = checkpoint.describe(MARGIN)
    checkpoint.save(tmp_path / "best", build().state_dict(), info)
    with pytest.raises(DataError, match="isn't calibrated"):
        Teachers.load([tmp_path], 0.5, CPU, DATA)


def test_a_teacher_of_whole_pictures_is_refused_for_faces_that_were_cut_out(tmp_path):
    point = {
        "calibration": {"temperature": 1.0, "bias": 0.0, "fitted_on": "val"},
        "thresholds": {"bona_fide_below": 0.2, "generated_from": 0.9, "rule": ""},
    }
    info = checkpoint.describe(MARGIN, faces="whole", **point)
    checkpoint.save(tmp_path / "best", build().state_dict(), info)
    with pytest.raises(DataError, match="was trained on whole pictures"):
        Teachers.load([tmp_path], 0.5, CPU, DATA)


def test_a_teacher_of_cut_faces_with_another_margin_is_refused_for_whole_pictures():
    whole = SimpleNamespace(root="data", margin=1.0, whole=True)
    with pytest.raises(DataError, match=r"cut with margin 1\.2, data holds whole pictures"):
        Teachers.load([TINY], 0.5, CPU, whole)


def test_teachers_are_known_by_their_content_and_order():
    asked = Teachers.load([TINY, TINY / "classifier.onnx"], 0.5, CPU, DATA)
    recorded = asked.to_list()
    assert [(each["kind"], each["from_bundle"]) for each in recorded] == [("bundle", True), ("onnx", True)]
    assert asked.are(recorded)
    assert not asked.are(recorded[::-1])
    assert not asked.are(recorded[:1])
    assert Teachers.load([], 0.0, CPU, DATA).are([])
