"""Chosen parts of the pair table: sources that look alike, so that a style can't tell the labels apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fauxface.errors import DataError
from fauxface_train.metrics import FAKE, REAL, Scored
from fauxface_train.patterns import matches


@dataclass(frozen=True, slots=True)
class Subset:
    """Real sources and the fake sources that they are to be compared with.

    Attributes:
        name: What tables call it, for example "sharp portraits against StyleGAN".
        reals: Patterns of names of real sources, with * and ?.
        fakes: Patterns of names of fake sources.
    """

    name: str
    reals: tuple[str, ...]
    fakes: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Subset":
        """Read "NAME=REAL,...:FAKE,...".

        Raises:
            DataError: A part is missing, or the name can't be printed.
        """
        name, _, patterns = text.partition("=")
        reals, _, fakes = patterns.partition(":")
        sides = [tuple(part.strip() for part in side.split(",") if part.strip()) for side in (reals, fakes)]
        if not name.strip() or not all(sides):
            raise DataError(
                f"can't read the pairs {text!r}; write NAME=REAL,...:FAKE,... such as 'sharp=ffhq*:sg*'"
            )
        if not name.strip().isprintable():
            raise DataError(
                f"the name of the pairs {text!r} can't be printed; write it in UTF-8, on one line"
            )
        return cls(name.strip(), *sides)

    def sources(self, scored: Scored) -> tuple[list[str], list[str]]:
        """Return the real and the fake sources that the patterns name.

        Raises:
            DataError: A pattern names no source.
        """
        chosen = []
        for label, patterns in ((REAL, self.reals), (FAKE, self.fakes)):
            names = scored.names(label)
            for pattern in patterns:
                if not any(matches(name, [pattern]) for name in names):
                    kind = "real" if label == REAL else "fake"
                    raise DataError(
                        f"pairs {self.name!r}: no {kind} source is called {pattern!r}; "
                        f"there are {', '.join(names) or 'none'}"
                    )
            chosen.append([name for name in names if matches(name, patterns)])
        return chosen[0], chosen[1]


def subsets(
    table: dict[str, Any], wanted: Sequence[tuple[str, list[str], list[str]]]
) -> list[dict[str, Any]]:
    """Return the worst pair and the median of each chosen part of the table.

    Args:
        table: What `fauxface_train.metrics.pairs` returned.
        wanted: Name, real sources and fake sources of each part; each source is in the table.

    Returns:
        Entries of `pairs.subsets` in metrics.json; none where there is no table.
    """
    if table["auroc"] is None:
        return []
    found = []
    for name, reals, fakes in wanted:
        cells = [
            {"real": real, "fake": fake}
            | table["auroc"][table["real_sources"].index(real)][table["fake_sources"].index(fake)]
            for real in reals
            for fake in fakes
        ]
        values = [cell["value"] for cell in cells]
        found.append(
            {
                "name": name,
                "real_sources": reals,
                "fake_sources": fakes,
                "pairs": len(cells),
                "median": {"value": float(np.median(values))},
                "worst": cells[int(np.argmin(values))],
            }
        )
    return found
