import cv2
import numpy as np
import pytest

from fauxface.gates import sharpness
from fauxface.verdicts import Calibration, Thresholds
from fauxface_train import blur_gate

THRESHOLDS = Thresholds(0.4, 0.6)


def textured(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            cv2.resize(rng.integers(0, 256, (40, 40, 3), np.uint8), (128, 128), interpolation=cv2.INTER_CUBIC)
            for _ in range(count)
        ]
    )


CROPS = textured(60)
LABELS = np.repeat([0, 1], 30)
SOURCES = np.array(["camera"] * 30 + ["gan"] * 30)


def logits(crops, labels, blind_below):
    """A classifier that is right, but calls what is softer than a limit bona fide."""
    seen = [label and sharpness(crop) >= blind_below for crop, label in zip(crops, labels, strict=True)]
    return np.where(np.array(seen)[:, None], [-4.0, 4.0], [4.0, -4.0]).astype(np.float32)


def choose(blind_below, clean=CROPS):
    crops, labels = blur_gate.evidence(CROPS, LABELS)
    scores = logits(crops, labels, blind_below)
    return blur_gate.choose((crops, labels, scores), (clean, LABELS, SOURCES), Calibration(), THRESHOLDS)


def test_evidence_is_blurred_more_and_less_and_the_same_each_time():
    crops, labels = blur_gate.evidence(CROPS, LABELS)
    assert labels.tolist() == LABELS.tolist()
    values = np.array([sharpness(crop) for crop in crops])
    assert values.max() > 50 * values.min()
    assert values.max() < min(sharpness(crop) for crop in CROPS)
    assert np.array_equal(crops, blur_gate.evidence(CROPS, LABELS)[0])


def test_evidence_takes_a_share_of_many_faces(monkeypatch):
    monkeypatch.setattr(blur_gate, "FACES_PER_LABEL", 10)
    _, labels = blur_gate.evidence(CROPS, LABELS)
    assert np.bincount(labels).tolist() == [10, 10]


def test_the_gate_shuts_out_what_the_classifier_is_blind_to():
    crops, _ = blur_gate.evidence(CROPS, LABELS)
    values = np.sort([sharpness(crop) for crop in crops])
    blind_below = float(values[len(values) // 2])
    got = choose(blind_below)
    # Beyond the blind spot right verdicts thin the risk out: it falls below the limit somewhat later.
    assert got is not None
    assert values[len(values) // 3] < got
    assert got < min(sharpness(crop) for crop in CROPS)
    assert round(got, 1) == got


def test_no_gate_where_blur_does_no_harm_or_nothing_shows_it():
    assert choose(0.0) is None
    crops, labels = blur_gate.evidence(CROPS[:30], LABELS[:30])
    scores = logits(crops, labels, 1e9)
    assert (
        blur_gate.choose((crops, labels, scores), (CROPS, LABELS, SOURCES), Calibration(), THRESHOLDS) is None
    )


def test_soft_camera_faces_are_not_refused():
    soft = CROPS.copy()
    soft[:30] = np.stack([cv2.GaussianBlur(crop, (0, 0), 4) for crop in soft[:30]])
    got = choose(1e9, clean=soft)
    softest = min(sharpness(crop) for crop in soft[:30])
    assert got is not None
    assert got <= softest < got + 0.2


@pytest.mark.parametrize("softest", [0, 1])
def test_a_source_of_plain_colours_leaves_no_gate(softest):
    plain = CROPS.copy()
    plain[softest] = 100
    assert choose(1e9, clean=plain) is None
