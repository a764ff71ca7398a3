import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxface.verdicts import Thresholds

sklearn_metrics = pytest.importorskip("sklearn.metrics")
metrics = pytest.importorskip("fauxface_train.metrics")

POINT = Thresholds(0.3, 0.7)


def scored(rows, **attributes):
    """Build samples from (p, label, source) rows."""
    p, labels, sources = zip(*rows, strict=True)
    return metrics.Scored(np.array(p), np.array(labels), np.array(sources), attributes)


EXAMPLE = [
    (0.1, 0, "camera"),
    (0.2, 0, "camera"),
    (0.5, 0, "camera"),
    (0.8, 0, "phone"),
    (0.2, 0, "phone"),
    (0.9, 1, "gan"),
    (0.9, 1, "gan"),
    (0.6, 1, "gan"),
    (0.1, 1, "diffusion"),
    (0.95, 1, "diffusion"),
]


@pytest.fixture(scope="module")
def document():
    return metrics.evaluate(scored(EXAMPLE), POINT, replicates=200)


@pytest.mark.parametrize("count", [10, 50])
def test_a_set_without_errors_claims_no_certainty(count):
    """What only a bootstrap bounds gets no interval; figures of two rates are bounded by the rates' own."""
    rows = [(0.0, 0, "camera")] * count + [(1.0, 1, "gan")] * count
    overall = metrics.evaluate(scored(rows), POINT, replicates=20)["overall"]
    for key, value in (("auroc", 1.0), ("ap", 1.0), ("eer", 0.0)):
        assert overall[key] == {"value": value}
    reach = overall["apcer"]["high"]
    assert reach == pytest.approx(1 - 0.025 ** (1 / count))
    assert overall["acer"] == pytest.approx({"value": 0, "low": 0, "high": reach})
    assert overall["balanced_accuracy"] == pytest.approx({"value": 1, "low": 1 - reach, "high": 1})


@pytest.mark.parametrize(("count", "known"), [(99, False), (100, True)])
def test_a_share_that_no_sample_reaches_has_no_tpr(count, known):
    # Of 100 bona fide samples one may lie above the threshold: so the second fake counts, the third doesn't.
    rows = [(0.001 * k, 0, "camera") for k in range(count)] + [(p, 1, "gan") for p in (0.5, 0.0985, 0.0905)]
    overall = metrics.evaluate(scored(rows), POINT, replicates=5)["overall"]
    assert overall["tpr_at_fpr_0.01"]["value"] == (pytest.approx(2 / 3) if known else None)
    assert overall["tpr_at_fpr_0.001"] == {
        "value": None,
        "reason": f"needs 1000 bona fide samples, not {count}",
    }


def test_each_label_has_half_of_the_weight_in_each_resample():
    """With p = 0.5 throughout the error is 0 whichever sources are drawn; unequal halves would show."""
    rows = [(0.5, 0, "large")] * 60 + [(0.5, 0, "small")] * 3 + [(0.5, 1, "gan")] * 10
    found = metrics.ranking(scored(rows), balanced=True, replicates=40, seed=0)
    assert found["ece"] == pytest.approx({"value": 0, "low": 0, "high": 0})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("accuracy", 0.7),  # 4 of 5 reals, 3 of 5 fakes at 0.7
        ("accuracy_at_half", 0.7),  # 0.5 and 0.8 are called generated, 0.1 isn't
        ("apcer", 0.4),
        ("bpcer", 0.2),
        ("balanced_accuracy", 0.7),
        ("acer", (0.5 + 0.2) / 2),  # diffusion: 1 of 2 missed
        ("unsure", 0.2),
        ("accuracy_when_decided", 6 / 8),
        ("brier", (0.01 + 0.04 + 0.25 + 0.64 + 0.04 + 0.01 + 0.01 + 0.16 + 0.81 + 0.0025) / 10),
        # Wins of the fakes over the reals (ties half): 5 + 5 + 4 + 0.5 + 5 of 25.
        ("auroc", 19.5 / 25),
    ],
)
def test_overall_by_hand(document, key, value):
    assert document["overall"][key]["value"] == pytest.approx(value)


def test_overall_counts(document):
    overall = document["overall"]
    assert (overall["samples"], overall["bona_fide"], overall["generated"]) == (10, 5, 5)
    assert overall["confusion"] == {
        "bona_fide": {"bona_fide": 3, "unsure": 1, "generated": 1},
        "generated": {"bona_fide": 1, "unsure": 1, "generated": 3},
    }
    p, labels = np.array([row[0] for row in EXAMPLE]), [row[1] for row in EXAMPLE]
    assert overall["nll"]["value"] == pytest.approx(sklearn_metrics.log_loss(labels, p))


@pytest.mark.parametrize(
    ("source", "key", "count", "total"),
    [
        ("camera", "bpcer", 0, 3),
        ("camera", "called_unsure", 1, 3),
        ("phone", "bpcer", 1, 2),
        ("phone", "accuracy", 1, 2),
        ("gan", "apcer", 1, 3),
        ("gan", "called_unsure", 1, 3),
        ("gan", "called_bona_fide", 0, 3),
        ("diffusion", "apcer", 1, 2),
        ("diffusion", "called_bona_fide", 1, 2),
    ],
)
def test_sources_by_hand(document, source, key, count, total):
    entry = next(s for s in document["sources"] if s["source"] == source)[key]
    assert entry["value"] == pytest.approx(count / total)
    assert (entry["count"], entry["total"]) == (count, total)
    assert entry["low"] <= entry["value"] <= entry["high"]


@pytest.mark.parametrize(
    ("source", "auroc", "against"),
    [
        ("camera", (3 * 3 + 0.5 + 3) / 15, "all generated"),  # 0.1 ties one camera sample, beats none
        ("phone", 7 / 10, "all generated"),
        ("gan", 14 / 15, "all bona_fide"),
        ("diffusion", 5.5 / 10, "all bona_fide"),
    ],
)
def test_source_auroc_is_against_the_other_label(document, source, auroc, against):
    entry = next(s for s in document["sources"] if s["source"] == source)
    assert entry["auroc"]["value"] == pytest.approx(auroc)
    assert entry["against"] == against


def test_worst_names_the_source(document):
    worst = document["worst"]
    assert {key: value["source"] for key, value in worst.items()} == {
        "apcer": "diffusion",
        "bpcer": "phone",
        "auroc": "diffusion",
    }


def test_pairs_by_hand(document):
    pairs = document["pairs"]
    assert (pairs["real_sources"], pairs["fake_sources"]) == (["camera", "phone"], ["diffusion", "gan"])
    values = [[cell["value"] for cell in row] for row in pairs["auroc"]]
    np.testing.assert_allclose(values, [[3.5 / 6, 1.0], [2 / 4, 5 / 6]])
    assert (pairs["worst"]["real"], pairs["worst"]["fake"]) == ("phone", "diffusion")


@pytest.mark.parametrize(("label", "present", "absent"), [(0, "bpcer", "apcer"), (1, "apcer", "bpcer")])
def test_one_label_gives_null_with_the_reason(label, present, absent):
    rows = [row for row in EXAMPLE if row[1] == label]
    got = metrics.evaluate(scored(rows), POINT, replicates=20)
    assert got["overall"][present]["value"] is not None
    for key in ("auroc", "ap", "eer", "tpr_at_fpr_0.01", "ece", "acer", "balanced_accuracy"):
        assert got["overall"][key] == {"value": None, "reason": "needs both bona fide and generated samples"}
    assert got["overall"][absent] == {"value": None, "reason": "no samples"}
    assert got["pairs"]["auroc"] is None
    assert got["worst"][absent]["value"] is None
    assert all(s["auroc"]["value"] is None for s in got["sources"])
    json.dumps(got, allow_nan=False)


def test_figures_are_deterministic_and_valid_json(document):
    again = metrics.evaluate(scored(EXAMPLE), POINT, replicates=200)
    assert json.dumps(document, allow_nan=False) == json.dumps(again, allow_nan=False)


def test_intervals_contain_the_value_and_depend_on_the_seed():
    rng = np.random.default_rng(0)
    rows = [
        (float(rng.beta(1 + label, 2 - label)), label, f"{label}{i % 4}")
        for label in (0, 1)
        for i in range(100)
    ]
    one, two = (metrics.overall(scored(rows), POINT, replicates=200, seed=seed) for seed in (0, 1))
    for key in (
        *("auroc", "ap", "eer", "tpr_at_fpr_0.01", "ece", "acer", "balanced_accuracy", "brier", "nll"),
        *("accuracy", "apcer", "bpcer", "unsure", "accuracy_when_decided"),
    ):
        assert one[key]["low"] < one[key]["value"] < one[key]["high"]
        assert one[key]["value"] == two[key]["value"]
    assert one["auroc"]["low"] != two["auroc"]["low"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 15]))
def test_ranking_equals_scikit_learn(seed, decimals):
    rng = np.random.default_rng(seed)
    labels = np.arange(30) % 2
    p = np.round(rng.random(30), decimals)
    got = metrics.ranking(metrics.Scored(p, labels, np.full(30, "s")), balanced=False, replicates=2, seed=0)
    assert got["auroc"]["value"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, p))
    assert got["ap"]["value"] == pytest.approx(sklearn_metrics.average_precision_score(labels, p))
    assert 0 <= got["eer"]["value"] <= 1


def test_balanced_ranking_ignores_prevalence():
    rng = np.random.default_rng(0)
    real, fake = rng.beta(1, 2, 50), rng.beta(2, 1, 50)
    few = metrics.Scored(np.r_[real, fake], np.repeat([0, 1], 50), np.full(100, "s"))
    many = metrics.Scored(np.r_[np.tile(real, 9), fake], np.repeat([0, 1], [450, 50]), np.full(500, "s"))
    for key in ("auroc", "ap", "eer", "ece"):
        one, other = (
            metrics.ranking(s, balanced=True, replicates=2, seed=0)[key]["value"] for s in (few, many)
        )
        assert one == pytest.approx(other)


def test_groups_with_any_name_are_sorted_behind_age_bands():
    rows = [(0.1, 0, "u")] * 4
    names = {"age_band": np.array(["60+", "0-12", "13-19", ""]), "race": np.array(["1st", "x", "60", ""])}
    got = metrics.demographics(scored(rows, gender=np.array([""] * 4), **names), POINT)
    assert [cell["cell"][0] for cell in got if cell["by"] == ["age_band"]] == ["0-12", "13-19", "60+"]
    assert [cell["cell"][0] for cell in got if cell["by"] == ["race"]] == ["1st", "60", "x"]


def test_demographics_by_hand():
    rows = [(0.9, 0, "u"), (0.1, 0, "u"), (0.2, 0, "u"), (0.9, 0, "other"), (0.9, 1, "gan")]
    got = metrics.demographics(
        scored(
            rows,
            age_band=np.array(["0-12", "0-12", "20-39", "", ""]),
            gender=np.array(["male", "female", "female", "", ""]),
            race=np.array(["white", "white", "", "", ""]),
        ),
        POINT,
    )
    cells = {(*cell["by"], *cell["cell"]): (cell["bpcer"]["count"], cell["bpcer"]["total"]) for cell in got}
    assert cells == {
        ("age_band", "0-12"): (1, 2),
        ("age_band", "20-39"): (0, 1),
        ("gender", "female"): (0, 2),
        ("gender", "male"): (1, 1),
        ("race", "white"): (1, 2),
        ("gender", "race", "female", "white"): (0, 1),
        ("gender", "race", "male", "white"): (1, 1),
    }


def test_reliability_counts_every_sample_once():
    table = metrics.reliability(
        scored([(0.0, 0, "a"), (0.05, 1, "g"), (0.5, 0, "a"), (1.0, 1, "g")]), bins=10
    )
    assert [(row["low"], row["count"], row["generated"]) for row in table] == [
        (0.0, 2, 0.5),
        (0.5, 1, 0.0),
        (0.9, 1, 1.0),
    ]
