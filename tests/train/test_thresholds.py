import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxface.errors import DataError

pytest.importorskip("scipy")
from scipy.stats import binom

from fauxface_train import thresholds


def evenly(count, low, high):
    return np.linspace(low, high, count)


@pytest.mark.parametrize(
    ("samples", "allowed"),
    [(1, 0), (5, 0), (6, 1), (35, 1), (36, 2), (82, 2), (83, 3), (137, 3), (138, 4), (198, 4), (1000, 15)],
)
def test_allowed_errors_are_those_that_a_binomial_test_accepts(samples, allowed):
    got = thresholds.allowed_errors(samples, 0.01)
    assert got == allowed
    assert binom.sf(got - 1, samples, 0.01) > 0.05 >= binom.sf(got, samples, 0.01)


def test_generated_from_holds_on_the_worst_source():
    easy, hard, fake = evenly(2000, 0.01, 0.3), evenly(100, 0.5, 0.9), evenly(100, 0.7, 0.99)
    p = np.r_[easy, hard, fake]
    labels = np.r_[np.zeros(2100, int), np.ones(100, int)]
    sources = ["easy"] * 2000 + ["hard"] * 100 + ["gan"] * 100
    got = thresholds.choose_thresholds(p, labels, sources, 0.01)
    # 100 samples allow three errors, while the pool of 2100 would allow 21.
    assert np.sort(hard)[-4] < got.generated_from <= np.sort(hard)[-3]
    assert "set by hard" in got.rule
    assert "highest BPCER 3 of 100 on hard" in got.rule


@pytest.mark.parametrize(
    ("count", "target", "said"),
    [
        (20, 0.001, "none of all 20 reals (so few can't rule out a BPCER of 0.14)"),  # 1 - 0.05 ** (1 / 20)
        (20, 0.01, "at most one of all 20 reals (so few can't rule out a BPCER of 0.22)"),
        (99, 0.01, "at most one of all 99 reals (so few can't rule out a BPCER of 0.047)"),
        (1, 0.06, "at most one of all 1 reals (so few can't rule out a BPCER of 1)"),
    ],
)
def test_the_rule_says_what_so_few_reals_cannot_rule_out(count, target, said):
    p = np.r_[evenly(count, 0.1, 0.5), evenly(20, 0.7, 0.99)]
    labels, sources = np.repeat([0, 1], [count, 20]), ["a"] * count + ["gan"] * 20
    assert said in thresholds.choose_thresholds(p, labels, sources, target).rule


def test_two_halves_of_the_same_faces_agree_better_by_the_mean_over_draws():
    rng = np.random.default_rng(0)
    lowest, chosen = [], []
    for _ in range(30):
        p = np.r_[rng.beta(1, 3, 60), rng.beta(1, 3, 60), np.full(40, 0.999)]
        labels, sources = np.repeat([0, 1], [120, 40]), ["a"] * 60 + ["b"] * 60 + ["gan"] * 40
        got = thresholds.lowest_generated_from(p, labels, sources)
        lowest.append(max(np.sort(p[:60])[-3], np.sort(p[60:120])[-3]))
        chosen.append(got.value)
    assert np.all(np.array(chosen) > np.array(lowest))
    assert np.std(chosen) < np.std(lowest)


def test_no_source_is_too_small_to_count():
    p = np.r_[evenly(2000, 0.0, 0.2), evenly(5, 0.6, 0.8), evenly(50, 0.9, 1.0)]
    labels = np.r_[np.zeros(2005, int), np.ones(50, int)]
    sources = ["big"] * 2000 + ["tiny"] * 5 + ["gan"] * 50
    got = thresholds.choose_thresholds(p, labels, sources)
    # Five samples allow no error: the threshold lies between 0.8 and the next score, 0.9.
    assert got.generated_from == pytest.approx(0.85)
    assert "set by tiny" in got.rule


def test_the_target_itself_is_kept_on_all_reals_together():
    p = np.r_[np.tile(evenly(50, 0.5, 0.95), 10), evenly(50, 0.9, 1.0)]
    labels = np.r_[np.zeros(500, int), np.ones(50, int)]
    sources = [f"camera{i // 50}" for i in range(500)] + ["gan"] * 50
    got = thresholds.choose_thresholds(p, labels, sources)
    # Each camera's 50 samples allow two errors, which makes 20; all 500 allow five.
    assert np.sum(p[:500] >= got.generated_from) <= 5
    assert "set by all reals" in got.rule


def test_the_bpcer_is_held_under_every_condition():
    clean, web = evenly(200, 0.0, 0.3), evenly(200, 0.0, 0.9)
    p = np.stack([np.r_[clean, [0.99] * 50], np.r_[web, [0.95] * 50]], axis=1)
    labels, sources = np.repeat([0, 1], [200, 50]), ["camera"] * 200 + ["gan"] * 50
    got = thresholds.choose_thresholds(p, labels, sources, conditions=["clean", "web"])
    assert np.sum(web >= got.generated_from) == 2
    assert "set by all reals (web)" in got.rule
    assert "(1, clean, web; 2 views of each face)" in got.rule
    rows = thresholds.held(p, labels, sources, got.generated_from, conditions=["clean", "web"])
    allowed = thresholds.allowed_errors(200, 0.01)
    assert rows == [
        thresholds.Held("camera", "clean", 200, 1, allowed, 0),
        thresholds.Held("camera", "web", 200, 1, allowed, 2),
    ]
    with pytest.raises(DataError, match="1 conditions don't name 2 views"):
        thresholds.choose_thresholds(p, labels, sources, conditions=["clean"])


def test_a_face_counts_as_the_share_of_its_views_that_are_called_generated():
    clean, web = evenly(200, 0.0, 0.3), evenly(200, 0.0, 0.9)
    p = np.stack([np.r_[clean, [0.99] * 50], np.r_[web, [0.95] * 50]], axis=1)
    labels, sources = np.repeat([0, 1], [200, 50]), ["camera"] * 200 + ["gan"] * 50
    got = thresholds.choose_thresholds(p, labels, sources)
    # All 200 faces allow two errors: four views, which all are web views here.
    assert np.sum(web >= got.generated_from) == 4
    assert "2 views of each face" in got.rule
    rows = thresholds.held(p, labels, sources, got.generated_from)
    assert rows == [thresholds.Held("camera", "", 200, 2, thresholds.allowed_errors(200, 0.01), 2.0)]


def test_the_same_view_twice_changes_nothing():
    rng = np.random.default_rng(0)
    p, labels = rng.beta(1, 2, 300), np.repeat([0, 1], 150)
    sources = np.repeat(["a", "b", "c"], 100)
    once, twice = (thresholds.choose_thresholds(q, labels, sources) for q in (p, np.stack([p, p], axis=1)))
    assert (once.generated_from, once.bona_fide_below) == (twice.generated_from, twice.bona_fide_below)


def test_separable_scores_leave_an_unsure_band():
    p = np.r_[np.full(100, 0.001), np.full(100, 0.999)]
    got = thresholds.choose_thresholds(p, np.repeat([0, 1], 100), ["r"] * 100 + ["f"] * 100)
    assert (got.bona_fide_below, got.generated_from) == (0.4, 0.6)
    assert list(map(got.label, [0.001, 0.5, 0.999])) == ["bona_fide", "unsure", "generated"]


def test_the_unsure_band_is_the_narrowest_that_keeps_the_risk():
    real, fake = evenly(1000, 0.0, 0.1), evenly(1000, 0.0, 1.0)
    p, labels, sources = np.r_[real, fake], np.repeat([0, 1], 1000), ["r"] * 1000 + ["f"] * 1000

    def risk(lower, upper):
        decided = (p < lower) | (p >= upper)
        wrong = np.where(p >= upper, labels == 0, labels == 1)
        return np.mean(wrong[decided])

    got = thresholds.choose_thresholds(p, labels, sources, risk_target=0.05)
    wider = np.min(p[p > got.bona_fide_below])
    assert risk(got.bona_fide_below, got.generated_from) <= 0.05 < risk(wider + 1e-3, got.generated_from)
    assert 0.01 < got.bona_fide_below < 0.4
    assert f"risk {risk(got.bona_fide_below, got.generated_from):.4f}" in got.rule


def test_labels_and_sources_weigh_the_same_in_the_risk():
    p = np.r_[np.full(990, 0.01), np.full(10, 0.2), np.full(10, 0.01), np.full(90, 0.99)]
    labels = np.r_[np.zeros(1000, int), np.ones(100, int)]
    sources = ["r"] * 1000 + ["bad"] * 10 + ["good"] * 90
    lower, risk, coverage = thresholds.unsure_band(p, labels, sources, 0.6, risk_target=0.3)
    # The bad generator is half of the fakes, so a quarter of everything, though 1 % of the samples.
    assert (lower, risk, coverage) == pytest.approx((0.4, 0.25, 1.0))


def test_a_risk_that_no_threshold_reaches_gives_the_lowest():
    p = np.r_[np.full(100, 0.3), np.full(100, 0.2)]
    labels = np.repeat([0, 1], 100)
    got = thresholds.choose_thresholds(p, labels, ["r"] * 100 + ["f"] * 100)
    assert got.bona_fide_below <= 0.2
    assert "risk 0.0000, coverage 0.0000" in got.rule


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_thresholds_keep_their_promises_on_any_scores(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    counts = data.draw(st.lists(st.integers(1, 250), min_size=2, max_size=6))
    decimals = data.draw(st.sampled_from([1, 2, 12]))
    p = np.concatenate([np.round(rng.beta(0.4 + i % 2, 0.5, n), decimals) for i, n in enumerate(counts)])
    labels = np.repeat(np.arange(len(counts)) % 2, counts)
    sources = np.repeat([f"s{i}" for i in range(len(counts))], counts)
    # Where a source has more reals at 1 than it may get wrong, no threshold keeps the promise.
    reals = p[labels == 0]
    together = min(max(1, len(reals) // 100), thresholds.allowed_errors(len(reals), 0.01))
    if np.sum(reals == 1) > together or any(
        row.errors > row.allowed for row in thresholds.held(p, labels, sources, 1.0)
    ):
        with pytest.raises(DataError, match="have probability 1"):
            thresholds.choose_thresholds(p, labels, sources)
        return
    got = thresholds.choose_thresholds(p, labels, sources)
    assert 0 <= got.bona_fide_below <= 0.4
    assert 0.6 <= got.generated_from <= 1
    assert len(got.rule) <= 1000
    assert np.sum(reals >= got.generated_from) <= max(1, 0.01 * len(reals))
    for row in thresholds.held(p, labels, sources, got.generated_from):
        assert row.errors <= row.allowed
    assert got.generated_from == 0.6 or not np.any(p == got.generated_from)


@pytest.mark.parametrize(
    ("p", "labels", "sources", "match"),
    [
        ([0.1, 0.2], [0, 0], ["a", "a"], "no fake"),
        ([0.1, 1.2], [0, 1], ["a", "b"], r"\[0, 1\]"),
        ([0.1, np.nan], [0, 1], ["a", "b"], r"\[0, 1\]"),
        ([0.1, 0.2], [0, 1], ["a"], "one length"),
        ([[[0.1]], [[0.2]]], [0, 1], ["a", "b"], "one length"),
        ([[], []], [0, 1], ["a", "b"], "one length"),
    ],
)
def test_choose_thresholds_refuses(p, labels, sources, match):
    with pytest.raises(DataError, match=match):
        thresholds.choose_thresholds(np.array(p), np.array(labels), sources)
