"""How well one nuisance tells the labels apart: small classifiers, on pictures that they didn't see."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fauxface_train.intervals import resamples, weighted_curves
from fauxface_train.metrics import bounded

FOLDS = 5
SOURCE_FOLDS = 3
REPLICATES = 400
LEAST = 20
"""Fewest pictures of each label that a figure is given for."""

_CARRIES = 0.005


@dataclass(slots=True)
class Judge:
    """Scores feature tables of one set of pictures against their labels.

    Attributes:
        labels: int [N], 0 bona fide, 1 generated.
        sources: str [N].
        seed: Of folds, classifiers and bootstrap.
        replicates: Bootstrap resamples of the intervals.
        groups: N keys; pictures with the same one, as of one photograph and what was made of it, lie in one
            fold. None: each picture is by itself.
    """

    labels: np.ndarray
    sources: np.ndarray
    seed: int = 0
    replicates: int = REPLICATES
    groups: np.ndarray | None = None
    _weights: dict[bytes, np.ndarray] = field(default_factory=dict)

    def judge(self, values: np.ndarray, known: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
        """Return what audit.json says of one group at one stage; see docs/data.md.

        Args:
            values: float [N, F].
            known: bool [N]: which rows hold a measurement.
            names: The F features' names.
        """
        if reason := self._unknown(known):
            return {"value": None, "reason": reason}
        with threadpool_limits(1):  # tables this small only lose by more threads
            return self._judge(values[known], known, names)

    def _judge(self, values: np.ndarray, known: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
        labels, sources = self.labels[known], self.sources[known]
        constant = bool(np.all(np.ptp(values, axis=0) < 1e-12))
        scores = np.zeros(len(labels))
        if not constant:
            groups = None if self.groups is None else self.groups[known]
            for train, test in by_picture(labels, sources, self.seed, groups):
                fitted = fit_and_score(values[train], labels[train], values[test], self.seed)
                # Ranks, since the probabilities of differently fitted classifiers don't compare.
                scores[test] = rankdata(fitted) / len(test)
        value = float(auroc(scores, labels)[0])
        per_source = _per_source(scores, labels, sources)
        return {
            **bounded(value, self._drawn(scores, known)),
            "samples": len(labels),
            "constant": constant,
            "across_sources": self._across(values, known, constant),
            "features": _single(values, labels, names),
            "sources": per_source,
            "carried_by": _carrier(value, per_source),
        }

    def _unknown(self, known: np.ndarray) -> str | None:
        counts = [int(np.sum(known & (self.labels == label))) for label in (0, 1)]
        if not any(counts):
            return "not known of any picture"
        for count, name, other in (
            (counts[0], "bona fide", "generated"),
            (counts[1], "generated", "bona fide"),
        ):
            if not count:
                return f"known of {other} pictures only"
            if count < LEAST:
                return f"known of {count} {name} pictures, fewer than {LEAST}"
        return None

    def _drawn(self, scores: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return the AUROC of each resample, float64 [replicates]."""
        labels = self.labels[known]
        key = known.tobytes()
        if key not in self._weights:
            drawn = resamples(labels, self.sources[known], self.seed, self.replicates)
            self._weights[key] = np.concatenate(list(drawn)).astype(np.float32)
        return auroc(scores, labels, self._weights[key])

    def _across(self, values: np.ndarray, known: np.ndarray, constant: bool) -> dict[str, Any]:
        """Judge sources that the classifier never saw: the mean AUROC of folds made of whole sources."""
        labels, sources = self.labels[known], self.sources[known]
        folds = list(by_source(labels, sources))
        if not folds:
            return {"value": None, "reason": "needs two sources of each label"}
        if self.groups is not None:
            folds = list(_apart(folds, self.groups[known], labels))
        if not folds:
            return {"value": None, "reason": "needs pictures that aren't made of each other's photographs"}
        found = []
        for train, test in folds:
            scores = np.zeros(len(test))
            if not constant:
                scores = fit_and_score(values[train], labels[train], values[test], self.seed)
            found.append(float(auroc(scores, labels[test])[0]))
        return {"value": float(np.mean(found)), "folds": found}


def fit_and_score(train: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Fit two small classifiers and return the mean of their probabilities of "generated", float64 [M].

    A logistic regression on standardised features finds a gradual difference even in few pictures, gradient
    boosting finds particular values ("exactly 256 pixels wide").

    Args:
        train: float [N, F].
        labels: int [N].
        test: float [M, F].
        seed: Of the boosting.
    """
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    boosted = HistGradientBoostingClassifier(
        max_iter=20,
        max_leaf_nodes=8,
        learning_rate=0.25,
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=False,  # pyright: ignore[reportArgumentType]  (the stub knows only "auto")
        random_state=seed,
    )
    return np.mean([m.fit(train, labels).predict_proba(test)[:, 1] for m in (linear, boosted)], axis=0)


def by_picture(
    labels: np.ndarray,
    sources: np.ndarray,
    seed: int,
    groups: np.ndarray | None = None,
    folds: int = FOLDS,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield train and test indices; each fold holds its share of every source of each label.

    Pictures of one group come into the fold of its first one.
    """
    rng = np.random.default_rng([seed, 1])
    fold = np.zeros(len(labels), int)
    for label in (0, 1):
        start = 0
        for name in np.unique(sources[labels == label]):
            members = rng.permutation(np.flatnonzero((labels == label) & (sources == name)))
            fold[members] = (start + np.arange(len(members))) % folds
            start += len(members)
    if groups is not None:
        _, first, group = np.unique(groups, return_index=True, return_inverse=True)
        fold = fold[first[group]]
    for number in range(folds):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def by_source(
    labels: np.ndarray, sources: np.ndarray, folds: int = SOURCE_FOLDS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield train and test indices, no source being in both; nothing where a label has one source only."""
    names = [np.unique(sources[labels == label]) for label in (0, 1)]
    folds = min(folds, *map(len, names))
    if folds < 2:
        return
    fold = np.zeros(len(labels), int)
    both = np.intersect1d(names[0], names[1])
    dealt = [0] * folds
    _deal(fold, _by_size(sources, both), dealt)
    for label, found in enumerate(names):
        mine = np.where(labels == label, sources, "")
        _deal(fold, _by_size(mine, np.setdiff1d(found, both)), list(dealt))
    for number in range(folds):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _apart(
    folds: Iterable[tuple[np.ndarray, np.ndarray]], groups: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Leave out of each fold's training what shares a group with its test; and folds that lose a label so."""
    for train, test in folds:
        rest = train[~np.isin(groups[train], groups[test])]
        if len(np.unique(labels[rest])) == 2:
            yield rest, test


def _deal(fold: np.ndarray, groups: Sequence[np.ndarray], held: list[int]) -> None:
    """Give each group of pictures the fold that holds the fewest, counting on in `held`."""
    for inside in groups:
        place = held.index(min(held))
        fold[inside] = place
        held[place] += 1


def _by_size(sources: np.ndarray, names: np.ndarray) -> list[np.ndarray]:
    """Return which pictures each source has, the largest source first."""
    return sorted((sources == name for name in names), key=lambda inside: -inside.sum())


def auroc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the AUROC of scores for one or many weightings.

    Args:
        scores: float [N].
        labels: int [N].
        weights: float [B, N]; one row of ones when not given.

    Returns:
        float64 [B].
    """
    weights = np.ones((1, len(labels)), np.float32) if weights is None else weights
    return weighted_curves(scores, labels, weights).auroc


def _single(values: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Describe each feature alone: AUROC of "larger means generated", and both labels' medians."""
    return [
        {
            "name": name,
            "auroc": float(auroc(column, labels)[0]),
            "median_bona_fide": float(np.median(column[labels == 0])),
            "median_generated": float(np.median(column[labels == 1])),
        }
        for name, column in zip(names, values.T, strict=True)
    ]


def _per_source(scores: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> list[dict[str, Any]]:
    """Describe each source: its AUROC against the other label, and the AUROC of all others without it."""
    keys = [(label, str(name)) for label in (0, 1) for name in np.unique(sources[labels == label])]
    own = np.array([(labels == label) & (sources == name) for label, name in keys])
    other = np.array([labels != label for label, _ in keys])
    against = auroc(scores, labels, (own | other).astype(np.float32))
    single = [sum(label == mine for label, _ in keys) == 1 for mine, _ in keys]
    kept = np.where(np.array(single)[:, None], True, ~own)
    without = auroc(scores, labels, kept.astype(np.float32))
    return [
        {
            "source": name,
            "label": ("bona_fide", "generated")[label],
            "samples": int(own[row].sum()),
            "auroc": float(against[row]),
            "without": None if single[row] else float(without[row]),
        }
        for row, (label, name) in enumerate(keys)
    ]


def _carrier(value: float, rows: list[dict[str, Any]]) -> str | None:
    """Name the source without which the AUROC falls most, if it falls at all."""
    left = [row for row in rows if row["without"] is not None]
    if value <= 0.5 or not left:
        return None
    least = min(left, key=lambda row: row["without"])
    return least["source"] if value - least["without"] >= _CARRIES else None
