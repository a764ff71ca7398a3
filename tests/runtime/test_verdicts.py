import math

import numpy as np
import pytest

from fauxface.verdicts import LABELS, Calibration, Thresholds


def test_labels_order():
    assert LABELS == ("bona_fide", "generated")


@pytest.mark.parametrize(
    ("temperature", "bias", "logits", "expected"),
    [
        (1, 0, [0, 0], 0.5),
        (1, 0, [0, 2], 1 / (1 + math.exp(-2))),
        (1, 0, [2, 0], 1 / (1 + math.exp(2))),
        (2, 0, [0, 2], 1 / (1 + math.exp(-1))),
        (2, 1, [0, 2], 1 / (1 + math.exp(-2))),
        (1, -2, [0, 2], 0.5),
        (1, 0, [-3e38, 3e38], 1.0),
        (1, 0, [3e38, -3e38], 0.0),
        (1, 0, [800, 0], math.exp(-700) * math.exp(-100)),
    ],
)
def test_probability(temperature, bias, logits, expected):
    got = Calibration(temperature, bias).probability(np.array([logits], np.float32))
    assert got.dtype == np.float64
    assert got[0] == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_log_odds_are_those_of_the_probability():
    calibration, logits = Calibration(2, -0.5), np.array([[0, 3], [1, -7]], np.float32)
    odds = calibration.log_odds(logits)
    assert odds.tolist() == [1, -4.5]
    np.testing.assert_allclose(calibration.probability(logits), 1 / (1 + np.exp(-odds)))


def test_probability_is_symmetric_and_monotonic():
    logits = np.stack([np.zeros(201), np.linspace(-40, 40, 201)], axis=1)
    p = Calibration().probability(logits)
    assert (np.diff(p) >= 0).all()
    np.testing.assert_allclose(p + Calibration().probability(logits[:, ::-1]), 1, atol=1e-15)


def test_probability_of_nothing():
    assert Calibration().probability(np.empty((0, 2), np.float32)).shape == (0,)


@pytest.mark.parametrize("shape", [(2,), (3, 1), (3, 3), (1, 2, 2)])
def test_probability_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"\[N, 2\]"):
        Calibration().probability(np.zeros(shape))
    with pytest.raises(ValueError, match=r"\[N, 2\]"):
        Calibration().log_odds(np.zeros(shape))


@pytest.mark.parametrize(
    ("temperature", "bias"), [(0, 0), (-1, 0), (math.nan, 0), (math.inf, 0), (1, math.nan), (1, math.inf)]
)
def test_calibration_refuses(temperature, bias):
    with pytest.raises(ValueError, match="must be finite"):
        Calibration(temperature, bias)


@pytest.mark.parametrize(
    ("lower", "upper"), [(-0.1, 0.5), (0.5, 1.1), (0.7, 0.3), (math.nan, 0.5), (0.5, math.nan)]
)
def test_thresholds_refuse(lower, upper):
    with pytest.raises(ValueError, match="thresholds"):
        Thresholds(lower, upper)


@pytest.mark.parametrize(
    ("lower", "upper", "p", "label"),
    [
        (0.3, 0.7, 0.0, "bona_fide"),
        (0.3, 0.7, 0.2999, "bona_fide"),
        (0.3, 0.7, 0.3, "unsure"),
        (0.3, 0.7, 0.6999, "unsure"),
        (0.3, 0.7, 0.7, "generated"),
        (0.3, 0.7, 1.0, "generated"),
        (0.5, 0.5, 0.4999, "bona_fide"),
        (0.5, 0.5, 0.5, "generated"),
        (0.0, 0.0, 0.0, "generated"),
        (1.0, 1.0, 0.999, "bona_fide"),
    ],
)
def test_label(lower, upper, p, label):
    assert Thresholds(lower, upper).label(p) == label


@pytest.mark.parametrize(
    ("p", "face_px", "verdict"),
    [
        (0.9, 40, ("generated", None)),
        (0.1, 400, ("bona_fide", None)),
        (0.9, 22, ("unsure", "face is 22 px, smaller than 40 px")),
        (0.1, 39.97, ("unsure", "face is 39 px, smaller than 40 px")),
        (0.5, 40, ("unsure", "probability 0.500 lies between the thresholds 0.300 and 0.700")),
    ],
)
def test_verdict(p, face_px, verdict):
    assert Thresholds(0.3, 0.7).verdict(p, face_px, 40) == verdict


@pytest.mark.parametrize(
    ("face_px", "failure", "reason"),
    [
        (40, "face is blurred", "face is blurred"),
        (22, "face is blurred", "face is 22 px, smaller than 40 px"),
    ],
)
def test_a_failed_gate_is_unsure_whatever_the_probability(face_px, failure, reason):
    assert Thresholds(0.3, 0.7).verdict(0.99, face_px, 40, failure) == ("unsure", reason)
