"""Which pictures make up each batch: a function of the seed alone, so that a resumed run sees the same."""

import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from fauxface.errors import DataError
from fauxface_train.presets import Recipe


class Plan:
    """The batches of a run.

    Args:
        labels: Label of each train sample, 0 or 1.
        sources: Source of each train sample.
        recipe: Length, batch, balance and seed.

    Attributes:
        samples: Pictures of the whole run.
        steps: Batches of the whole run.
        epoch: Batches that make up one pass over the train split, at least 1.

    Raises:
        DataError: A label has no sample, or a source weight matches no source.
    """

    def __init__(self, labels: Sequence[int], sources: Sequence[str], recipe: Recipe) -> None:
        self._labels = np.asarray(labels)
        self._recipe = recipe
        for value, name in enumerate(("real", "fake")):
            if not (self._labels == value).any():
                raise DataError(
                    f"the train split has no {name} pictures; add some and prepare the data again"
                )
        count = len(self._labels)
        self.epoch = math.ceil(count / recipe.batch)
        if recipe.balanced:
            self.samples = recipe.samples or recipe.epochs * count
            self.steps = math.ceil(self.samples / recipe.batch)
        else:
            whole, rest = divmod(recipe.samples or recipe.epochs * count, count)
            self.steps = whole * self.epoch + math.ceil(rest / recipe.batch)
            self.samples = whole * count + min(count, math.ceil(rest / recipe.batch) * recipe.batch)
        self._groups = _groups(self._labels, sources)
        self.shares = _shares(self._groups, recipe.power, recipe.source_weights)

    def batches(self, first: int = 0) -> Iterator[list[tuple[int, int]]]:
        """Yield the batches from number `first` on.

        Yields:
            One batch as pairs: position in the run, which seeds the degradations, and index of the sample.
        """
        source = self._balanced() if self._recipe.balanced else self._shuffled()
        position = 0
        for number in range(self.steps):
            batch = next(source)
            if number >= first:
                yield [(position + offset, int(index)) for offset, index in enumerate(batch)]
            position += len(batch)

    def _shuffled(self) -> Iterator[np.ndarray]:
        """Yield passes over all samples, each in another order; a pass's last batch may be smaller."""
        rng = np.random.default_rng([self._recipe.seed, 1])
        while True:
            order = rng.permutation(len(self._labels))
            for start in range(0, len(order), self._recipe.batch):
                yield order[start : start + self._recipe.batch]

    def _balanced(self) -> Iterator[np.ndarray]:
        """Yield batches, half real and half fake; each source gives all its samples before one repeats."""
        rng = np.random.default_rng([self._recipe.seed, 2])
        cycles = [[_cycle(indices, rng) for indices in group.values()] for group in self._groups]
        half = self._recipe.batch // 2
        for number in _naturals():
            # An odd batch gives its odd place to either label in turn.
            sizes = (self._recipe.batch - half, half) if number % 2 else (half, self._recipe.batch - half)
            picked = [
                next(cycles[label][source])
                for label, size in enumerate(sizes)
                for source in rng.choice(len(cycles[label]), size, p=list(self.shares[label].values()))
            ]
            yield rng.permutation(np.asarray(picked))


def _naturals() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def _cycle(indices: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(indices)


def _groups(labels: np.ndarray, sources: Sequence[str]) -> tuple[dict[str, np.ndarray], ...]:
    """Return, per label, each source's sample indices, sources in name order."""
    names = np.asarray(sources, dtype=str)

    def of(value: int, name: str) -> np.ndarray:
        return np.flatnonzero((labels == value) & (names == name))

    return tuple(
        {str(name): of(value, name) for name in np.unique(names[labels == value])} for value in (0, 1)
    )


def _shares(
    groups: Sequence[Mapping[str, np.ndarray]], power: float, factors: Mapping[str, float]
) -> tuple[dict[str, float], ...]:
    """Return, per label, each source's share of the draws: size to the power, times matching factors."""
    known = [name for group in groups for name in group]
    for pattern in factors:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise DataError(f"no train source matches {pattern!r}; it has {', '.join(sorted(set(known)))}")
    shares = []
    for group in groups:
        raw = {name: float(len(indices)) ** power for name, indices in group.items()}
        for pattern, factor in factors.items():
            raw = {name: value * (factor if fnmatchcase(name, pattern) else 1) for name, value in raw.items()}
        total = sum(raw.values())
        shares.append({name: value / total for name, value in raw.items()})
    return tuple(shares)
