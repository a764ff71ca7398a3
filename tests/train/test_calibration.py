import numpy as np
import pytest

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


def test_weights_count_within_their_label():
    rng = np.random.default_rng(0)
    logits = as_logits(np.r_[rng.normal(-1, 1, 500), rng.normal(1, 1, 500)])
    labels, times = np.repeat([0, 1], 500), rng.integers(1, 4, 1000)
    times[:250] = 9
    weighed = calibration.fit(logits, labels, weights=times.astype(float))
    copied = calibration.fit(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    plain = calibration.fit(logits, labels)
    # A weight of nine is nine copies; only the smoothed targets differ.
    got = (weighed.temperature, weighed.bias)
    assert got == pytest.approx((copied.temperature, copied.bias), abs=0.01)
    assert got != pytest.approx((plain.temperature, plain.bias), abs=0.01)
    scaled = calibration.fit(logits, labels, weights=np.full(1000, 7.0))
    assert (scaled.temperature, scaled.bias) == pytest.approx((plain.temperature, plain.bias))


def scores(rng, shift=0.0, count=300):
    difference = np.r_[rng.normal(-2, 1, count), rng.normal(2 - shift, 1, count)]
    return as_logits(difference)


def test_an_operating_point_is_fitted_on_the_mix_and_held_on_all_but_hard():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 300)
    sources = np.array(["camera"] * 300 + ["gan"] * 300)
    clean, web, hard = scores(rng), scores(rng, 1), scores(rng, 3)
    hard[:30] = [-30, 30]  # reals that look generated: hard views must not move the thresholds
    views = {"clean": clean, "web": web, "hard": hard}
    fitted, chosen = calibration.operating_point(views, labels, sources, fitted_on="val split")
    assert fitted.fitted_on == "val split (clean, web, hard views)"
    assert fitted.bias != pytest.approx(calibration.fit(clean, labels).bias, abs=0.05)
    for name in ("clean", "web"):
        assert np.mean(fitted.probability(views[name])[:300] >= chosen.generated_from) <= 0.01
    assert "clean, web; 2 views of each face" in chosen.rule
    again = calibration.operating_point(views, labels, sources, fitted_on="val split")
    assert (fitted, chosen) == again


def test_framings_share_the_weight_of_their_condition():
    rng = np.random.default_rng(0)
    labels, sources = np.repeat([0, 1], 300), ["camera"] * 300 + ["gan"] * 300
    clean, web = scores(rng), scores(rng, 3)
    thrice = np.stack([clean] * 3, axis=1)
    once, _ = calibration.operating_point({"clean": clean, "web": web}, labels, sources)
    often, _ = calibration.operating_point({"clean": thrice, "web": web}, labels, sources)
    # Only the smoothed targets depend on how many views there are.
    assert often.temperature == pytest.approx(once.temperature, rel=0.01)
    assert often.bias == pytest.approx(once.bias, abs=0.01)
    assert once.bias != pytest.approx(calibration.fit(clean, labels).bias, abs=0.1)
    with pytest.raises(DataError, match="one pair of logits per label"):
        calibration.operating_point({"clean": clean[:-1]}, labels, sources)


def test_an_operating_point_of_plain_logits():
    rng = np.random.default_rng(0)
    logits, labels = scores(rng), np.repeat([0, 1], 300)
    fitted, chosen = calibration.operating_point(logits, labels, ["a"] * 300 + ["b"] * 300, fitted_on="x")
    assert fitted == calibration.fit(logits, labels, fitted_on="x")
    assert np.mean(fitted.probability(logits)[:300] >= chosen.generated_from) <= 0.01
