import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxface.errors import DataError

pytest.importorskip("scipy")
calibration = pytest.importorskip("fauxface_train.calibration")


def as_logits(difference):
    difference = np.asarray(difference, np.float64)
    return np.stack([-difference / 2, difference / 2], axis=1)


@pytest.mark.parametrize(
    ("temperature", "bias"), [(1.0, 0.0), (2.5, 0.7), (0.4, -1.2)], ids=["identity", "sharp", "soft"]
)
def test_fit_recovers_the_distortion_of_calibrated_scores(temperature, bias):
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, 40_000)
    labels = (rng.random(40_000) < 1 / (1 + np.exp(-z))).astype(int)
    got = calibration.fit(as_logits((z - bias) * temperature), labels, fitted_on="synthetic")
    assert got.temperature == pytest.approx(temperature, rel=0.05)
    assert got.bias == pytest.approx(bias, abs=0.06)
    assert got.fitted_on == "synthetic"


def test_fit_weighs_labels_alike_whatever_their_counts():
    rng = np.random.default_rng(1)
    real, fake = rng.normal(-1, 1, 4000), rng.normal(1, 1, 4000)
    # Two normals of variance 1 at -1 and +1 have log odds 2x: temperature 0.5, bias 0 for equal priors.
    got = calibration.fit(as_logits(np.r_[real, fake[:400]]), np.r_[np.zeros(4000, int), np.ones(400, int)])
    assert got.temperature == pytest.approx(0.5, rel=0.12)
    assert got.bias == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_fit_stays_finite_on_separable_scores(scale):
    got = calibration.fit(
        as_logits(np.r_[-np.ones(50), np.ones(50)] * scale), np.r_[np.zeros(50), np.ones(50)]
    )
    low, high = calibration.TEMPERATURE_RANGE
    assert low <= got.temperature * (1 + 1e-9)
    assert got.temperature <= high * (1 + 1e-9)
    assert np.isfinite(got.bias)


def test_fit_of_separable_scores_predicts_the_smoothed_targets():
    got = calibration.fit(as_logits(np.r_[-np.ones(98), np.ones(98)]), np.r_[np.zeros(98), np.ones(98)])
    np.testing.assert_allclose(got.probability(as_logits([-1.0, 1.0])), [0.01, 0.99], atol=1e-4)


@pytest.mark.parametrize(
    ("logits", "labels", "match"),
    [
        (np.zeros((3, 2)), [0, 0, 0], "no fake sample"),
        (np.zeros((3, 2)), [1, 1, 1], "no real sample"),
        (np.zeros((0, 2)), [], "no real sample"),
        (np.zeros((3, 3)), [0, 1, 0], "must be"),
        (np.zeros((3, 2)), [0, 1], "must be"),
        (np.zeros((3, 2)), [0, 1, 2], "labels must be 0"),
        (np.full((2, 2), np.nan), [0, 1], "finite"),
    ],
)
def test_fit_refuses(logits, labels, match):
    with pytest.raises(DataError, match=match):
        calibration.fit(logits, np.array(labels, int))


def evenly(count, low, high):
    return np.linspace(low, high, count)


def test_generated_from_holds_on_the_worst_source():
    easy, hard, fake = evenly(200, 0.01, 0.3), evenly(200, 0.5, 0.9), evenly(100, 0.7, 0.99)
    p = np.r_[easy, hard, fake]
    labels = np.r_[np.zeros(400, int), np.ones(100, int)]
    sources = ["easy"] * 200 + ["hard"] * 200 + ["gan"] * 100
    got = calibration.choose_thresholds(p, labels, sources, 0.01)
    # 1 % of 200 allows two: the threshold lies above the third highest score of the hard source.
    third, second = np.sort(hard)[-3], np.sort(hard)[-2]
    assert third < got.generated_from <= second
    assert np.sum(hard >= got.generated_from) == 2
    assert "set by hard" in got.rule


def test_small_sources_are_pooled():
    p = np.r_[evenly(200, 0.0, 0.2), evenly(30, 0.6, 0.7), evenly(40, 0.6, 0.8), evenly(50, 0.9, 1.0)]
    labels = np.r_[np.zeros(270, int), np.ones(50, int)]
    sources = ["big"] * 200 + ["small1"] * 30 + ["small2"] * 40 + ["gan"] * 50
    got = calibration.choose_thresholds(p, labels, sources)
    # The pool has 70 samples, 1 % of which is none: the threshold lies between 0.8 and the next score, 0.9.
    assert got.generated_from == pytest.approx(0.85)
    assert "pool of small sources" in got.rule


def test_separable_scores_leave_an_unsure_band():
    p = np.r_[np.full(100, 0.001), np.full(100, 0.999)]
    got = calibration.choose_thresholds(p, np.repeat([0, 1], 100), ["r"] * 100 + ["f"] * 100)
    assert (got.bona_fide_below, got.generated_from) == (0.4, 0.6)
    assert list(map(got.label, [0.001, 0.5, 0.999])) == ["bona_fide", "unsure", "generated"]


def test_bona_fide_below_keeps_missed_fakes_rare():
    real, fake = evenly(1000, 0.0, 0.1), evenly(1000, 0.05, 0.95)
    got = calibration.choose_thresholds(
        np.r_[real, fake], np.repeat([0, 1], 1000), ["r"] * 1000 + ["f"] * 1000, missed_target=0.05
    )
    assert np.mean(fake < got.bona_fide_below) == pytest.approx(0.05, abs=1e-9)


def test_bona_fide_below_rises_when_too_many_reals_would_be_unsure():
    real, fake = evenly(1000, 0.0, 0.5), evenly(1000, 0.0, 1.0)
    got = calibration.choose_thresholds(
        np.r_[real, fake], np.repeat([0, 1], 1000), ["r"] * 1000 + ["f"] * 1000, unsure_target=0.3
    )
    unsure = (real >= got.bona_fide_below) & (real < got.generated_from)
    assert np.mean(unsure) == pytest.approx(0.3, abs=2e-3)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_thresholds_keep_their_promises_on_any_scores(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    counts = data.draw(st.lists(st.integers(1, 250), min_size=2, max_size=6))
    decimals = data.draw(st.sampled_from([1, 2, 12]))
    p = np.concatenate([np.round(rng.beta(0.4 + i % 2, 0.5, n), decimals) for i, n in enumerate(counts)])
    p = np.minimum(p, 0.999999)
    labels = np.repeat(np.arange(len(counts)) % 2, counts)
    sources = np.repeat([f"s{i}" for i in range(len(counts))], counts)
    got = calibration.choose_thresholds(p, labels, sources)
    assert 0 <= got.bona_fide_below <= 0.4
    assert 0.6 <= got.generated_from <= 1
    for name, n in zip(np.unique(sources), counts, strict=True):
        chosen = (sources == name) & (labels == 0)
        if n >= 100 and chosen.any():
            assert np.mean(p[chosen] >= got.generated_from) <= 0.01
    assert got.generated_from == 0.6 or not np.any(p == got.generated_from)


@pytest.mark.parametrize(
    ("p", "labels", "sources", "match"),
    [
        ([0.1, 0.2], [0, 0], ["a", "a"], "no fake"),
        ([0.1, 1.2], [0, 1], ["a", "b"], r"\[0, 1\]"),
        ([0.1, np.nan], [0, 1], ["a", "b"], r"\[0, 1\]"),
        ([0.1, 0.2], [0, 1], ["a"], "one length"),
    ],
)
def test_choose_thresholds_refuses(p, labels, sources, match):
    with pytest.raises(DataError, match=match):
        calibration.choose_thresholds(np.array(p), np.array(labels), sources)
