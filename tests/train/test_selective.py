import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxface.verdicts import Thresholds

metrics = pytest.importorskip("fauxface_train.metrics")
selective = pytest.importorskip("fauxface_train.selective")

POINT = Thresholds(0.3, 0.7)


def scored(p, labels):
    return metrics.Scored(np.array(p, float), np.array(labels), np.full(len(p), "s"))


@pytest.fixture(scope="module")
def found():
    # By confidence: 0.95 right, 0.9 wrong, 0.8 right, 0.65 wrong, 0.6 right.
    return selective.risk_coverage(
        scored([0.95, 0.1, 0.8, 0.65, 0.4], [1, 1, 1, 0, 0]), POINT, replicates=100
    )


def test_curve_by_hand(found):
    points = [(point["coverage"], point["risk"], point["confidence"]) for point in found["curve"]]
    expected = [(0.2, 0, 0.95), (0.4, 1 / 2, 0.9), (0.6, 1 / 3, 0.8), (0.8, 2 / 4, 0.65), (1.0, 2 / 5, 0.6)]
    np.testing.assert_allclose(points, expected)


def test_aurc_is_the_mean_risk(found):
    assert found["aurc"]["value"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2 + 2 / 5) / 5)
    assert found["aurc"]["low"] <= found["aurc"]["value"] <= found["aurc"]["high"]


def test_the_shipped_band_by_hand(found):
    # Decided: 0.95, 0.1 and 0.8; 0.1 is a generated one that was called bona fide.
    assert (found["coverage"]["count"], found["coverage"]["total"]) == (3, 5)
    assert (found["risk"]["count"], found["risk"]["total"]) == (1, 3)
    assert found["curve_risk"]["value"] == pytest.approx(1 / 3)


def test_equal_confidence_is_kept_together():
    got = selective.risk_coverage(scored([0.9, 0.9, 0.1, 0.6], [1, 0, 0, 1]), POINT, replicates=5)
    assert [(point["coverage"], point["risk"]) for point in got["curve"]] == [
        (0.75, pytest.approx(1 / 3)),
        (1.0, 0.25),
    ]
    assert got["aurc"]["value"] == pytest.approx(0.75 / 3 + 0.25 * 0.25)


def test_all_unsure_has_no_risk():
    got = selective.risk_coverage(scored([0.5, 0.5], [0, 1]), POINT, replicates=5)
    assert got["coverage"]["value"] == 0
    assert got["risk"] == {"value": None, "reason": "no samples"}
    assert got["curve_risk"] == {"value": None, "reason": "every verdict is unsure"}


def test_without_an_error_aurc_has_no_interval():
    got = selective.risk_coverage(scored([0.9, 0.1], [1, 0]), POINT, replicates=5)
    assert got["aurc"] == {"value": 0.0}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 200))
def test_curve_ends_at_the_error_rate(seed, size):
    rng = np.random.default_rng(seed)
    p, labels = rng.random(size), rng.integers(0, 2, size)
    got = selective.risk_coverage(scored(p, labels), POINT, replicates=2)
    last = got["curve"][-1]
    assert last["coverage"] == 1
    assert last["risk"] == pytest.approx(np.mean((p >= 0.5) != labels))
    assert len(got["curve"]) <= selective.POINTS
    coverage = [point["coverage"] for point in got["curve"]]
    assert coverage == sorted(set(coverage))
    assert 0 <= got["aurc"]["value"] <= 1
