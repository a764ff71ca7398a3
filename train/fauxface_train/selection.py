"""Which pictures are kept: one of each set of copies, and none that lies under both labels."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from fauxface_train import duplicates, extraction
from fauxface_train.extraction import Extract
from fauxface_train.layouts import Item

KEPT = "kept"
DUPLICATE, NEAR, CONFLICT = "duplicates", "near_duplicates", "conflicts"
OUTCOMES = (KEPT, DUPLICATE, NEAR, CONFLICT, extraction.NO_FACE, extraction.TOO_SMALL, extraction.UNREADABLE)
"""What can become of a file; each file has one of these."""

_RANK = {"test": 0, "val": 1, "train": 2, None: 3}


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture file and what came of it."""

    item: Item
    extract: Extract


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a file.

    Attributes:
        outcome: One of OUTCOMES.
        other: Index of the entry that it is a copy of or in conflict with, else None.
    """

    outcome: str
    other: int | None = None


def select(
    entries: Sequence[Entry],
    crop_of: Callable[[Entry], Path],
    threads: int = 1,
    stream: TextIO | None = None,
) -> list[Fate]:
    """Decide which entries are kept.

    Of copies, the one of the most protected split is kept (test, val, train, then those without a given
    split), of those the one with the larger face, then the one with the lower hash. The order of the
    entries plays no part.

    Args:
        entries: All files.
        crop_of: Where the stored crop of an entry with status "ok" lies.
        threads: Number of threads that compare crops.
        stream: Where progress goes; standard error when not given.

    Returns:
        One fate per entry, in order.
    """
    fates: dict[int, Fate] = {}
    alike: defaultdict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        if entry.extract.status == extraction.OK:
            alike[entry.extract.pixels].append(index)
        else:
            fates[index] = Fate(entry.extract.status)
    unique, disputed = [], []
    for group in alike.values():
        group.sort(key=lambda index: _order(entries[index]))
        first = group[0]
        opposite = next((i for i in group if entries[i].item.label != entries[first].item.label), None)
        if opposite is None:
            unique.append(first)
            fates.update((index, Fate(DUPLICATE, first)) for index in group[1:])
        else:
            disputed.append(first)
            for index in group:
                same = entries[index].item.label == entries[first].item.label
                fates[index] = Fate(CONFLICT, opposite if same else first)
    unique.sort(key=lambda index: _order(entries[index]))
    near = _near(entries, [*unique, *disputed], crop_of, threads, stream)
    for first in disputed:
        fates |= {other: Fate(CONFLICT, first) for other in near.get(first, ()) if other not in fates}
    _drop_near(entries, [index for index in unique if index not in fates], near, fates)
    return [fates[index] for index in range(len(entries))]


def _near(
    entries: Sequence[Entry],
    unique: Sequence[int],
    crop_of: Callable[[Entry], Path],
    threads: int,
    stream: TextIO | None,
) -> dict[int, list[int]]:
    """Return the near duplicates of every entry that has some, by index."""
    extracts = [entries[index].extract for index in unique]
    thumbs = np.frombuffer(b"".join(e.thumb for e in extracts), np.uint8)
    pairs = duplicates.near_pairs(
        np.array([e.crop_hash for e in extracts], np.uint64),
        np.array([e.frame_hash for e in extracts], np.uint64),
        thumbs.reshape(-1, duplicates.THUMB, duplicates.THUMB),
        lambda place: duplicates.load_gray(crop_of(entries[unique[place]]), extracts[place].square),
        threads=threads,
        stream=stream,
    )
    near: defaultdict[int, list[int]] = defaultdict(list)
    for left, right in pairs:
        near[unique[left]].append(unique[right])
        near[unique[right]].append(unique[left])
    return near


def _drop_near(
    entries: Sequence[Entry], unique: Sequence[int], near: dict[int, list[int]], fates: dict[int, Fate]
) -> None:
    """Decide on entries that are no exact copies, given in the order of preference."""
    for index in unique:
        label = entries[index].item.label
        opposite = next((other for other in near.get(index, ()) if entries[other].item.label != label), None)
        if opposite is not None:
            fates[index] = Fate(CONFLICT, opposite)
    disputed = {index for index, fate in fates.items() if fate.outcome == CONFLICT}
    for index in unique:  # another copy of a photograph in conflict
        alike = next((other for other in near.get(index, ()) if other in disputed), None)
        if index not in fates and alike is not None:
            fates[index] = Fate(CONFLICT, fates[alike].other)
    for index in unique:
        if index not in fates:
            better = next((i for i in near.get(index, ()) if i in fates and fates[i].outcome == KEPT), None)
            fates[index] = Fate(KEPT) if better is None else Fate(NEAR, better)


def _order(entry: Entry) -> tuple[int, float, str, str]:
    """Return the order of preference among copies."""
    return (
        _RANK[entry.item.split],
        -max(entry.extract.box[2], entry.extract.box[3]),
        entry.extract.sha256,
        str(entry.item.path),
    )
