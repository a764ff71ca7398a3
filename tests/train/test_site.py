import re

import numpy as np
import pytest

from fauxface.errors import DataError
from fauxface.verdicts import Calibration, Thresholds

pytest.importorskip("scipy")
from fauxface_train import site

PARENT = (Calibration(2.0, 0.5), Thresholds(0.3, 0.9))


def pictures(reals, fakes, *, real=-3.0, fake=3.0, seed=0):
    rng = np.random.default_rng(seed)
    difference = np.r_[rng.normal(real, 1, reals), rng.normal(fake, 1, fakes)]
    labels = np.repeat([0, 1], [reals, fakes])
    sources = np.array(["lobby"] * reals + ["gan"] * fakes)
    return np.stack([-difference / 2, difference / 2], axis=1), labels, sources


@pytest.mark.parametrize(
    ("reals", "fakes", "fitted"),
    [
        (20, 0, "nothing"),
        (200, 19, "nothing"),
        (20, 20, "bias"),
        (300, 99, "bias"),
        (100, 100, "temperature and bias"),
    ],
)
def test_what_is_fitted_depends_on_how_many_there_are(reals, fakes, fitted):
    got = site.refit(*pictures(reals, fakes), PARENT)
    assert got.fitted == fitted
    assert (got.calibration.bias == PARENT[0].bias) == (fitted == "nothing")
    assert (got.calibration.temperature == PARENT[0].temperature) == (fitted != "temperature and bias")
    if fitted == "nothing":
        assert got.thresholds.bona_fide_below == PARENT[1].bona_fide_below


@pytest.mark.parametrize("reals", [0, 1, 19])
def test_too_few_real_pictures_are_refused(reals):
    with pytest.raises(DataError, match=f"{reals} real pictures are too few"):
        site.refit(*pictures(reals, 200), PARENT)


def test_the_more_pictures_the_further_from_the_parent():
    distances = []
    for count in (20, 60, 400):
        logits, labels, sources = pictures(count, count, real=0.0, fake=6.0, seed=1)
        got = site.refit(logits, labels, sources, (Calibration(1.0, 0.0), Thresholds(0.3, 0.9)))
        # The labels are told apart best at a difference of 3, the parent does it at 0.
        distances.append(-got.calibration.bias * got.calibration.temperature)
    assert 0.3 < distances[0] < distances[1] < distances[2]
    assert distances[2] == pytest.approx(3.0, abs=0.6)


def test_false_alarms_on_site_raise_the_threshold_at_once():
    logits, labels, sources = pictures(100, 0, real=2.5)
    before = PARENT[0].probability(logits)[labels == 0] >= PARENT[1].generated_from
    got = site.refit(logits, labels, sources, PARENT)
    after = got.calibration.probability(logits) >= got.thresholds.generated_from
    assert np.sum(before) > 5
    assert np.sum(after) <= 1
    assert got.before.bpcer.errors == np.sum(before)
    assert got.before.apcer is None


@pytest.mark.parametrize(("reals", "share"), [(25, 0.2), (100, 0.5), (900, 0.9)])
def test_lowering_is_believed_in_proportion_to_the_pictures(reals, share):
    logits, labels, sources = pictures(reals, 0, real=-9.0)
    got = site.refit(logits, labels, sources, PARENT)
    odds = np.log(
        np.array([0.6, 0.9, got.thresholds.generated_from])
        / (1 - np.array([0.6, 0.9, got.thresholds.generated_from]))
    )
    assert (odds[1] - odds[2]) / (odds[1] - odds[0]) == pytest.approx(share, abs=1e-6)
    assert f"believed to {share:.2f}" in got.thresholds.rule


@pytest.mark.parametrize(("fakes", "share"), [(20, 1 / 6), (100, 0.5), (900, 0.9)])
def test_raising_what_is_bona_fide_is_believed_in_proportion_to_the_generated_pictures(fakes, share):
    parent = (Calibration(1.0, 0.0), Thresholds(0.01, 0.9))
    got = site.refit(*pictures(30, fakes, real=-9.0, fake=9.0), parent)
    found = float(re.search(r"that is ([\d.]+), believed to ([\d.]+) against the parent's", lower(got))[1])
    before = site._moved(0.01, parent[0], got.calibration)
    assert found > before
    wanted = share * site._log_odds(found) + (1 - share) * site._log_odds(before)
    assert site._log_odds(got.thresholds.bona_fide_below) == pytest.approx(
        min(wanted, site._log_odds(got.thresholds.generated_from)), abs=0.01
    )


def lower(got):
    return got.thresholds.rule.partition("; bona fide below ")[2]


def test_errors_are_counted_on_pictures_that_the_fit_did_not_see():
    inside, outside = 0, 0
    for seed in range(6):
        logits, labels, sources = pictures(60, 60, real=2.5, fake=6.0, seed=seed)
        got = site.refit(logits, labels, sources, PARENT)
        called = got.calibration.probability(logits) >= got.thresholds.generated_from
        assert np.sum(called[labels == 0]) <= 1
        inside += int(np.sum(called[labels == 0]))
        outside += got.after.bpcer.errors
        assert got.after.bpcer.total == got.after.apcer.total == 60
        rate = got.after.apcer
        assert rate.low <= rate.errors / rate.total <= rate.high
    assert outside > inside


def test_generated_pictures_called_bona_fide_are_counted_apart_from_unsure_ones():
    logits, labels, sources = pictures(60, 60, real=-6.0, fake=-3.0)
    got = site.refit(logits, labels, sources, PARENT)
    p = PARENT[0].probability(logits)[labels == 1]
    assert got.before.missed.errors == np.sum(p < PARENT[1].bona_fide_below) > 0
    assert got.before.apcer.errors == np.sum(p < PARENT[1].generated_from) > got.before.missed.errors
    assert got.after.missed.errors <= got.after.apcer.errors
    assert got.after.missed.total == 60


def test_the_intervals_are_exact():
    rate = site.Rate.of(np.array([True] + [False] * 49))
    # Clopper-Pearson for 1 of 50, as tables give it.
    assert (rate.low, rate.high) == pytest.approx((0.000506, 0.106473), abs=1e-5)
    assert site.Rate.of(np.array([], bool)) is None


@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_a_parent_with_extreme_thresholds(extreme):
    got = site.refit(*pictures(120, 120), (Calibration(), Thresholds(extreme, extreme)))
    assert 0 <= got.thresholds.bona_fide_below <= got.thresholds.generated_from <= 1
    assert len(got.thresholds.rule) <= 1000


def test_rows_must_fit_together():
    logits, labels, sources = pictures(30, 30)
    with pytest.raises(DataError, match=r"finite \[N, 2\]"):
        site.refit(logits[1:], labels, sources, PARENT)
    logits[0, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        site.refit(logits, labels, sources, PARENT)


def test_a_fold_without_a_threshold_counts_its_alarms():
    logits, labels, _ = pictures(36, 30)
    sources = np.array(["door"] * 6 + ["lobby"] * 30 + ["gan"] * 30)
    logits[0] = [-60, 60]  # one of six may be called generated, none of five
    got = site.refit(logits, labels, sources, PARENT)
    assert got.thresholds.generated_from < 1
    assert got.after.bpcer.errors >= 1


def test_a_fold_without_a_threshold_is_judged_by_the_parents_point(monkeypatch):
    logits, labels, sources = pictures(40, 40)
    whole = site._point

    def point(logits, *rest, **rule):
        if len(logits) < 80:
            raise DataError("too few")
        return whole(logits, *rest, **rule)

    monkeypatch.setattr(site, "_point", point)
    calibration, thresholds = PARENT
    got = site.refit(logits, labels, sources, PARENT)
    p = calibration.probability(logits)
    assert got.after.bpcer.errors == np.sum(p[labels == 0] >= thresholds.generated_from)
    assert got.after.missed is not None
    assert got.after.missed.errors == np.sum(p[labels == 1] < thresholds.bona_fide_below)
