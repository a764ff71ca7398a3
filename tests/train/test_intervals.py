import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

metrics = pytest.importorskip("sklearn.metrics")
intervals = pytest.importorskip("fauxface_train.intervals")


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),  # 1 - 0.025 ** (1 / 10)
        (10, 10, 0.6915, 1.0),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (0, 300, 0.0, 0.01222),
        (3, 300, 0.00207, 0.02895),
    ],
)
def test_clopper_pearson_equals_published_tables(count, total, low, high):
    assert intervals.clopper_pearson(count, total) == pytest.approx((low, high), abs=5e-5)


scores = hnp.arrays(np.float64, st.integers(4, 40), elements=st.sampled_from(np.linspace(0, 1, 13)))


@settings(max_examples=80, deadline=None)
@given(scores, st.integers(0, 2**32 - 1))
def test_weighted_curves_equal_scikit_learn(p, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(len(p)) % 2)
    weights = rng.integers(0, 4, (3, len(p))).astype(float)
    weights[:, [np.argmax(labels == 0), np.argmax(labels == 1)]] = 1
    got = intervals.weighted_curves(p, labels, weights)
    for row, weight in enumerate(weights):
        kept = weight > 0
        args = (labels[kept], p[kept])
        assert got.auroc[row] == pytest.approx(metrics.roc_auc_score(*args, sample_weight=weight[kept]))
        assert got.ap[row] == pytest.approx(
            metrics.average_precision_score(*args, sample_weight=weight[kept])
        )
        fpr, tpr, _ = metrics.roc_curve(*args, sample_weight=weight[kept], drop_intermediate=False)
        for target in intervals.FPR_TARGETS:
            assert got.tpr[target][row] == pytest.approx(tpr[fpr <= target].max())
        assert got.eer[row] == pytest.approx(intervals.equal_error_rate(fpr[None], tpr[None])[0])


@pytest.mark.parametrize(
    ("fpr", "tpr", "eer"),
    [
        ([0, 0, 1], [0, 1, 1], 0.0),  # perfect
        ([0, 1], [0, 1], 0.5),  # chance
        ([0, 1, 1], [0, 0, 1], 1.0),  # inverted
        ([0, 0.2, 1], [0, 0.8, 1], 0.2),  # a point on the diagonal
        ([0, 0.0, 0.5, 1], [0, 0.5, 1.0, 1], 0.25),  # halfway along the middle segment
    ],
)
def test_equal_error_rate(fpr, tpr, eer):
    got = intervals.equal_error_rate(np.array([fpr], float), np.array([tpr], float))
    assert got[0] == pytest.approx(eer)


def error(residuals):
    """The expected calibration error of each row of terms."""
    return np.sum(np.abs(residuals), axis=1)


def test_calibration_error_by_hand():
    p = np.array([0.1, 0.1, 0.1, 0.9, 1.0])
    labels = np.array([0, 0, 1, 1, 1])
    # Two bins: lower mean p 0.1, share 1/3 (3 samples); upper mean p 0.95, share 1 (2 samples).
    even = (3 * (1 / 3 - 0.1) + 2 * 0.05) / 5
    # Dropping the lower bin's generated sample: |0.1 - 0| over two samples.
    other = (2 * 0.1 + 2 * 0.05) / 4
    weights = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 1]], float)
    got = intervals.calibration_residuals(p, labels, weights, bins=2)
    np.testing.assert_allclose(error(got), [even, other])


def test_resamples_keep_label_and_source():
    labels = np.repeat([0, 0, 1], [30, 20, 10])
    sources = np.repeat(["a", "b", "gan"], [30, 20, 10])
    weights = np.concatenate(list(intervals.resamples(labels, sources, seed=3, replicates=200)))
    assert weights.shape == (200, 60)
    per_source = np.stack([weights[:, sources == name].sum(axis=1) for name in ("a", "b", "gan")], axis=1)
    # Two draws of the two real sources: both once, or one of them twice; the only generator is always there.
    assert {tuple(row) for row in per_source} == {(30, 20, 10), (60, 0, 10), (0, 40, 10)}
    again = np.concatenate(list(intervals.resamples(labels, sources, seed=3, replicates=200)))
    np.testing.assert_array_equal(weights, again)


def test_resamples_come_in_bounded_chunks(monkeypatch):
    monkeypatch.setattr(intervals, "_CHUNK_ELEMENTS", 100)
    labels, sources = np.arange(20) % 2, np.array(["a", "b"] * 10)
    chunks = list(intervals.resamples(labels, sources, seed=0, replicates=12))
    assert [len(chunk) for chunk in chunks] == [5, 5, 2]


def test_grouped_interval_is_wider_than_one_that_ignores_sources():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    sources = np.array([f"s{i // 100}" for i in range(800)])
    shift = np.repeat(rng.normal(0, 1, 8), 100)
    p = 1 / (1 + np.exp(-(rng.normal(0, 1, 800) + 2 * labels + shift)))

    def width(names):
        draws = [
            intervals.weighted_curves(p, labels, w).auroc for w in intervals.resamples(labels, names, 0, 300)
        ]
        low, high = intervals.percentile_interval(np.concatenate(draws))
        return high - low

    assert width(sources) > 2 * width(np.full(800, "one"))


def test_the_calibration_interval_holds_the_truth_where_percentiles_do_not():
    """Perfectly calibrated scores have an error of 0, which resampled errors never show."""
    held = percentiles = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        p = rng.random(300)
        labels, one = (rng.random(300) < p).astype(int), np.ones((1, 300))
        found = intervals.calibration_residuals(p, labels, one)[0]
        (weights,) = intervals.resamples(labels, np.full(300, "s"), seed, 200)
        low, high = intervals.calibration_interval(found, intervals.calibration_residuals(p, labels, weights))
        (value,) = error(found[None])
        assert low <= value <= high
        held += low == 0
        drawn = error(intervals.calibration_residuals(p, labels, weights))
        percentiles += intervals.percentile_interval(drawn)[0] <= value
    assert held >= 38
    assert percentiles < 38


def test_the_calibration_interval_holds_errors_that_a_small_sample_does_not_show():
    """Twenty faces scored 0.01 and twenty scored 0.99, of which one in 25 has the other label."""
    held = 0
    p = np.repeat([0.01, 0.99], 20)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels, one = (rng.random(40) < np.repeat([0.04, 0.96], 20)).astype(int), np.ones(40)
        found = intervals.calibration_residuals(p, labels, one[None])[0]
        (weights,) = intervals.resamples(labels, np.full(40, "s"), seed, 200)
        drawn = intervals.calibration_residuals(p, labels, weights)
        unseen = intervals.unseen_error(p, labels, one)
        low, high = intervals.calibration_interval(found, drawn, unseen)
        held += low <= 0.03 <= high
    assert held >= 95


def test_bins_of_one_label_add_to_what_resamples_show():
    """Half of the pictures lie in a bin whose resamples vary, half in one that can hide errors."""
    p = np.repeat([0.5, 0.01], 100)
    labels = np.concatenate([np.tile([0, 1], 50), np.zeros(100, int)])
    one = np.ones(200)
    rng = np.random.default_rng(0)
    drawn = np.array([np.bincount(rng.integers(0, 200, 200), minlength=200) for _ in range(400)], dtype=float)
    found = intervals.calibration_residuals(p, labels, one[None])[0]
    terms = intervals.calibration_residuals(p, labels, drawn)
    unseen = intervals.unseen_error(p, labels, one)
    alone = intervals.calibration_interval(found, terms)[1]
    assert unseen == pytest.approx(0.5 * (1 - 0.05 ** (1 / 100)))
    assert intervals.calibration_interval(found, terms, unseen)[1] == pytest.approx(alone + unseen)


def test_no_error_is_unseen_where_both_labels_are():
    p, labels = np.tile([0.02, 0.98], 20), np.repeat([0, 1], 20)
    assert intervals.unseen_error(p, labels, np.ones(40)) == 0
    pure = intervals.unseen_error(p, np.tile([0, 1], 20), np.ones(40))
    assert pure == pytest.approx(1 - 0.05 ** (1 / 20))


@pytest.mark.parametrize(
    ("shares", "wider"),
    [((0.0, 0.0, 0.0, 0.0), False), ((0.1, 0.1, 0.1, 0.1), False), ((0.0, 0.0, 0.0, 0.6), True)],
)
def test_a_rate_of_several_sources_covers_which_sources_there_are(shares, wider):
    events = np.concatenate([np.arange(100) < 100 * share for share in shares])
    sources, labels = np.repeat(list("abcd"), 100), np.zeros(400, int)
    low, high = intervals.grouped_rate(events, sources, labels)
    exact = intervals.clopper_pearson(int(events.sum()), 400)
    assert low <= exact[0] < exact[1] <= high
    assert (high - low > 2 * (exact[1] - exact[0])) == wider
    draws = np.concatenate([w @ events / 400 for w in intervals.resamples(labels, sources, 0)])
    np.testing.assert_allclose(
        [low, high],
        [f(a, b) for f, a, b in zip((min, max), exact, intervals.percentile_interval(draws), strict=True)],
        atol=0.01,
    )
