"""Which pictures make up each batch: a function of the seed alone, so that a resumed run sees the same."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fauxface.errors import DataError
from fauxface_train.patterns import matches
from fauxface_train.presets import Recipe

_REACH = 0.025
"""Half the stretch of weight in which a bona fide picture counts as matched."""


class Plan:
    """The batches of a run.

    Args:
        labels: Label of each train sample, 0 or 1.
        sources: Source of each train sample.
        recipe: Length, batch, balance and seed.
        sharpness: Sharpness of each train sample, [N] and positive; read where the recipe matches by it.

    Attributes:
        samples: Pictures of the whole run.
        steps: Batches of the whole run.
        epoch: Batches that make up one pass over the train split, at least 1.

    Raises:
        DataError: A label has no sample, or a source weight matches no source.
    """

    def __init__(
        self,
        labels: Sequence[int],
        sources: Sequence[str],
        recipe: Recipe,
        sharpness: Sequence[float] | np.ndarray | None = None,
    ) -> None:
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
        self._matching = None
        if recipe.balanced and recipe.matched:
            if sharpness is None:
                raise DataError("batches can't be matched without the pictures' sharpness")
            self._matching = _Matching(np.asarray(sharpness), self._groups[0], self.shares[0])

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
            reals, fakes = (
                [
                    next(cycles[label][source])
                    for source in rng.choice(len(cycles[label]), size, p=list(self.shares[label].values()))
                ]
                for label, size in enumerate(sizes)
            )
            if self._matching is not None:
                met = min(round(self._recipe.matched * len(reals)), len(fakes))
                reals[:met] = self._matching.to(fakes[:met], rng)
            yield rng.permutation(np.asarray(reals + fakes))


class _Matching:
    """Bona fide pictures as sharp as given generated ones, drawn by the weight of their sources.

    The bona fide pictures stand in order of sharpness, each as wide as its weight. A generated picture has a
    place among them; the draw is uniform on a stretch around it, which is pushed inwards at either end, so
    that generated pictures sharper than all others don't always meet the same few.
    """

    def __init__(
        self, sharpness: np.ndarray, sources: Mapping[str, np.ndarray], shares: Mapping[str, float]
    ) -> None:
        indices = np.concatenate(list(sources.values()))
        widths = np.concatenate(
            [np.full(len(sources[name]), shares[name] / len(sources[name])) for name in sources]
        )
        order = np.argsort(sharpness[indices], kind="stable")
        self._sharpness = sharpness
        self._indices = indices[order]
        self._ends = np.cumsum(widths[order])

    def to(self, fakes: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Draw one bona fide picture for each generated one."""
        below = np.searchsorted(self._sharpness[self._indices], self._sharpness[list(fakes)])
        places = np.concatenate([[0.0], self._ends])[below] / self._ends[-1]
        places = places.clip(_REACH, 1 - _REACH) + rng.uniform(-_REACH, _REACH, len(places))
        drawn = np.searchsorted(self._ends, places * self._ends[-1]).clip(max=len(self._indices) - 1)
        return self._indices[drawn].tolist()


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
        if not any(matches(name, [pattern]) for name in known):
            raise DataError(f"no train source matches {pattern!r}; it has {', '.join(sorted(set(known)))}")
    shares = []
    for group in groups:
        raw = {name: float(len(indices)) ** power for name, indices in group.items()}
        for pattern, factor in factors.items():
            raw = {name: value * (factor if matches(name, [pattern]) else 1) for name, value in raw.items()}
        total = sum(raw.values())
        shares.append({name: value / total for name, value in raw.items()})
    return tuple(shares)
