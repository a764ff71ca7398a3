import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.metrics import roc_auc_score

from fauxface_train.audit import classifiers
from fauxface_train.audit.classifiers import Judge


def table(count=80, per_label=2):
    labels = np.arange(2 * count) % 2
    sources = np.array([f"{'ab'[y]}{i // 2 % per_label}" for i, y in enumerate(labels)])
    return labels, sources


def judged(values, labels, sources, known=None):
    known = np.ones(len(labels), bool) if known is None else known
    names = tuple(f"f{i}" for i in range(values.shape[1]))
    return Judge(labels, sources, replicates=50).judge(values, known, names)


def test_noise_is_near_chance_and_its_interval_holds_it():
    labels, sources = table(150)
    found = judged(np.random.default_rng(3).normal(size=(300, 4)), labels, sources)
    assert 0.4 < found["value"] < 0.6
    assert found["low"] < 0.5 < found["high"]
    assert found["samples"] == 300


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(lambda rng, y: rng.normal(size=len(y)) + 3 * y, id="a gradual difference"),
        pytest.param(lambda rng, y: rng.integers(0, 3, len(y)) * 2 + y, id="particular values"),
        pytest.param(lambda rng, y: np.where(y == 1, 0, rng.normal(size=len(y))), id="one value only"),
    ],
)
def test_planted_differences_are_found(plant):
    labels, sources = table()
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(size=len(labels)), plant(rng, labels)], axis=1)
    found = judged(values, labels, sources)
    assert found["value"] > 0.9
    assert found.get("low", 1) > 0.8
    assert ("low" in found) == (found["value"] < 1)


def test_constants_are_chance_without_a_fit(monkeypatch):
    monkeypatch.setattr(classifiers, "fit_and_score", None)
    labels, sources = table()
    found = judged(np.full((160, 3), 7.0), labels, sources)
    assert (found["value"], found["constant"]) == (0.5, True)
    assert {"low", "high"}.isdisjoint(found)
    assert found["across_sources"]["value"] == 0.5
    assert found["carried_by"] is None


def test_a_trait_of_one_source_is_carried_by_it_and_fails_across_sources():
    labels, sources = table(120, per_label=3)
    rng = np.random.default_rng(1)
    value = rng.normal(size=240) + 6 * (sources == "a1")
    found = judged(value[:, None], labels, sources)
    assert found["carried_by"] == "a1"
    rows = {row["source"]: row for row in found["sources"]}
    assert rows["a1"]["auroc"] > 0.95
    assert rows["a1"]["label"] == "bona_fide"
    assert rows["a1"]["without"] < found["value"] - 0.1
    assert rows["a0"]["auroc"] < 0.7
    assert found["value"] > 0.6
    assert found["across_sources"]["value"] < found["value"]


def test_a_trait_of_the_label_holds_across_sources():
    labels, sources = table(90, per_label=3)
    values = np.random.default_rng(2).normal(size=(180, 1)) + 3 * labels[:, None]
    across = judged(values, labels, sources)["across_sources"]
    assert len(across["folds"]) == 3
    assert across["value"] > 0.9


def test_one_source_per_label_is_judged_by_picture_only():
    labels, sources = table(per_label=1)
    found = judged(labels[:, None] * 1.0, labels, sources)
    assert found["value"] == 1
    assert found["across_sources"] == {"value": None, "reason": "needs two sources of each label"}
    assert [row["without"] for row in found["sources"]] == [None, None]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (lambda y: y < 0, "not known of any picture"),
        (lambda y: y == 0, "known of bona fide pictures only"),
        (lambda y: y == 1, "known of generated pictures only"),
        (lambda y: (y == 0) | (np.cumsum(y) <= 5), "known of 5 generated pictures, fewer than 20"),
    ],
)
def test_what_isnt_known_of_both_labels_has_a_reason(known, reason):
    labels, sources = table()
    assert judged(np.zeros((160, 1)), labels, sources, known(labels)) == {"value": None, "reason": reason}


def test_single_features_agree_with_scikit_learn():
    labels, sources = table()
    values = np.random.default_rng(4).integers(0, 6, (160, 2)) + labels[:, None]
    for row, column in zip(judged(values * 1.0, labels, sources)["features"], values.T, strict=True):
        assert row["auroc"] == pytest.approx(roc_auc_score(labels, column))
        assert row["median_bona_fide"] == np.median(column[labels == 0])


def test_folds_are_disjoint_and_keep_sources_in_their_shares_or_whole():
    labels, sources = table(100, per_label=4)
    seen = []
    for train, test in classifiers.by_picture(labels, sources, seed=0):
        assert not set(train) & set(test)
        assert sorted({*train, *test}) == list(range(200))
        for name in np.unique(sources):
            assert np.sum(sources[test] == name) == 5
        seen += test.tolist()
    assert sorted(seen) == list(range(200))
    twins = np.arange(200) // 2  # each generated picture was made of a bona fide one
    for train, test in classifiers.by_picture(labels, sources, 0, twins):
        assert not set(twins[train]) & set(twins[test])
        assert (len(train), len(test), np.sum(labels[test])) == (160, 40, 20)
    for train, test in classifiers.by_source(labels, sources):
        assert not set(sources[train]) & set(sources[test])
        assert set(labels[train]) == set(labels[test]) == {0, 1}


def test_what_was_made_of_a_photograph_isnt_judged_by_what_learned_from_it():
    """Learned from, content under the other label would push the figure below chance."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 240)
    sources = np.array([f"{'ab'[y]}{i % 3 if y == 0 else i // 80}" for i, y in enumerate(labels)])
    photographs = rng.normal(size=(240, 3))
    values = np.concatenate([photographs, photographs])
    known = np.ones(480, bool)

    def figure(groups):
        judge = Judge(labels, sources, replicates=20, groups=groups)
        return judge.judge(values, known, ("x", "y", "z"))["across_sources"]["value"]

    assert figure(None) < 0.4 < figure(np.tile(np.arange(240), 2)) < 0.6


def test_folds_of_sources_that_lose_a_label_are_left_out():
    labels, sources = table(60)
    made_of = {"a0": "a0", "a1": "a1", "b0": "a1", "b1": "a0"}
    number = np.arange(120) // 4
    groups = np.array([f"{made_of[s]}:{n}" for s, n in zip(sources, number, strict=True)])
    judge = Judge(labels, sources, replicates=20, groups=groups)
    across = judge.judge(np.random.default_rng(6).normal(size=(120, 1)), np.ones(120, bool), ("x",))[
        "across_sources"
    ]
    assert across == {
        "value": None,
        "reason": "needs pictures that aren't made of each other's photographs",
    }


@pytest.mark.parametrize(
    "names", [["aa", "bb", "bc", "ab"], ["ab", "ac", "bc", "cb"], ["aa", "bb", "cc", "dd"]]
)
def test_a_name_in_both_labels_is_one_source_of_the_folds(names):
    """Each row names the source of the bona fide and that of the generated pictures."""
    labels = np.tile(np.repeat([0, 1], 10), len(names))
    sources = np.concatenate([np.repeat(list(pair), 10) for pair in names])
    folds = list(classifiers.by_source(labels, sources))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(labels)))
    for train, test in folds:
        assert not set(sources[train]) & set(sources[test])
        assert set(labels[train]) == set(labels[test]) == {0, 1}
