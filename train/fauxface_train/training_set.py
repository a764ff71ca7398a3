"""Which pictures are trained on: a split without what is excluded, and what joins it from further data."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fauxface.errors import DataError
from fauxface_train.dataset import PreparedData, Sample
from fauxface_train.patterns import matches

MOST_RECONSTRUCTIONS = 1 / 3
"""Share of the generated pictures beyond which reconstructions would be most of what "generated" means."""

_RECONSTRUCTED = re.compile(r".+:([0-9a-f]{16})")
_LOCATOR = ("locator_sha256", "locator")
"""What prepare.json tells of the locator; absent where none was used."""


def chosen(data: PreparedData, split: str, exclude: Sequence[str]) -> list[Sample]:
    """Return a split's samples without the excluded sources.

    Raises:
        DataError: The split is absent, or has no picture of a label left.
    """
    found = data.samples(split=split)
    if not found:
        raise DataError(f"the data have no {split} split; prepare them again with one")
    samples = [s for s in found if not matches(s.source, exclude)]
    for value, name in enumerate(("real", "fake")):
        if not any(s.label == value for s in found):
            raise DataError(f"the {split} split has no {name} pictures; add some and prepare the data again")
        if not any(s.label == value for s in samples):
            raise DataError(
                f"--exclude leaves no {name} pictures in the {split} split; exclude fewer sources"
            )
    return samples


def excluded(info: Mapping[str, Any]) -> Sequence[str]:
    """Return the patterns of sources that a training left out.

    Args:
        info: A checkpoint's description, or a bundle's provenance.
    """
    config = info.get("config")
    return (config.get("exclude") or ()) if isinstance(config, Mapping) else ()


def joining(data: PreparedData, folders: Sequence[str | Path], exclude: Sequence[str]) -> list[Sample]:
    """Return the train samples of further prepared data, without the excluded sources.

    A picture that `data` or an earlier folder trains on already, under the same label, isn't taken again, and
    a reconstruction of an excluded source's picture isn't taken at all. One of a picture that is measured on
    counts as that picture.

    Raises:
        DataError: A folder isn't prepared data, was prepared with another crop rule or locator, or has no
            train split; or a picture of it, or what one was made of, is in val or test of `data`, or it is
            known under the other label.
    """
    known = {s.sha256: (s.split, s.label) for s in data.samples()}
    hidden = {s.sha256[:16] for s in data.samples() if matches(s.source, exclude)}
    measured = {s.sha256[:16] for s in data.samples() if s.split != "train"}
    samples = []
    for folder in folders:
        other = PreparedData.load(folder)
        if (other.info["crop"], other.room) != (data.info["crop"], data.room):
            raise DataError(
                f"{folder} was prepared with another crop rule than {data.root}; prepare it alike"
            )
        if any(
            None not in (a := data.info.get(key), b := other.info.get(key)) and a != b for key in _LOCATOR
        ):
            raise DataError(
                f"{folder} was prepared with another locator than {data.root}, so its faces are framed in "
                "another way; prepare it alike"
            )
        found = other.samples(split="train")
        if not found:
            raise DataError(f"{folder} has no train split to add; prepare it with one")
        wanted = [s for s in found if not matches(s.source, exclude) and made_of(s) not in hidden]
        fresh = {s.sha256: ("train", s.label) for s in wanted}
        origins = {s.sha256: made_of(s) for s in wanted}
        clashes = sum(
            known.get(sha256, at) != at or origins[sha256] in measured for sha256, at in fresh.items()
        )
        if clashes:
            raise DataError(
                f"{clashes} train pictures of {folder} are, or are made of what is, in another split or "
                f"under the other label in {data.root}; prepare both together, so that nothing is both "
                "trained and measured on"
            )
        samples += [s for s in wanted if s.sha256 not in known]
        known |= fresh
    return samples


def check_excluded(data: PreparedData, folders: Sequence[str | Path], exclude: Sequence[str]) -> None:
    """Refuse a pattern that leaves nothing out: what it was meant for would be trained on, and called unseen.

    Args:
        data: The data.
        folders: Further prepared data that are trained on.
        exclude: Patterns of sources.

    Raises:
        DataError: A pattern matches no source, or a folder isn't prepared data.
    """
    names = {name for each in (data, *map(PreparedData.load, folders)) for name in each.sources()}
    for pattern in exclude:
        if not any(matches(name, [pattern]) for name in names):
            raise DataError(f"--exclude {pattern!r} matches no source; there are {', '.join(sorted(names))}")


def without_validation(data: PreparedData, train: Sequence[Sample], val: Sequence[Sample]) -> list[str]:
    """Return the sources of the data's own train pictures that have no val picture under the same label.

    Pictures from other folders, see `joining`, are never validated on, and aren't named.
    """
    own = {(s.label, s.source) for s in train if s.path.is_relative_to(data.root)}
    return sorted({source for _, source in own - {(s.label, s.source) for s in val}})


def of_reconstructions(samples: Sequence[Sample], shares: Mapping[str, float]) -> float:
    """Tell how much of the generated pictures that are drawn are reconstructions of bona fide ones.

    Args:
        samples: The train samples.
        shares: Share of each generated source in the draws.

    Returns:
        A share in [0, 1].
    """
    bona_fide = {s.sha256[:16] for s in samples if s.label == 0}
    return sum(shares[name] for name in {s.source for s in samples if s.label and made_of(s) in bona_fide})


def made_of(sample: Sample) -> str:
    """Return the start of the SHA-256 that a reconstruction names; empty of another picture."""
    found = _RECONSTRUCTED.fullmatch(sample.original)
    return found[1] if found else ""
