"""From samples to feature tables: raw file, stored crop, network input and transformed view of every face."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from fauxface import images
from fauxface.crops import INPUT_SIZE, Square, face_square
from fauxface.errors import ImageError
from fauxface.progress import Progress
from fauxface_train import augment
from fauxface_train.audit import features
from fauxface_train.dataset import PreparedData, Sample, load_stored
from fauxface_train.presets import Degradations

STAGES = {
    "raw": "raw files",
    "crop": "stored crops",
    "input": "network input",
    "view": "after the transform",
}
"""What is measured, in the order of a picture's way to the network; titles for people."""

TRAITS = {"age": "Age", "gender": "Gender", "race": "Race"}
"""What the manifest may know of a person: no stage changes it."""

_RACES = ("white", "black", "asian", "indian", "other")

Vectors = dict[str, list[float] | None]
"""Per group what was measured at one stage; None where there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Table:
    """One group at one stage.

    Attributes:
        values: float64 [N, F]; rows that aren't known hold zeros.
        known: bool [N].
    """

    values: np.ndarray
    known: np.ndarray


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured.

    Attributes:
        tables: Per stage and group, in the order of `samples`.
        traits: Per attribute of the manifest.
        read: Number of originals that were read.
        missing: Number of originals that are no longer where the manifest says, or can't be read.
        changed: Number of originals whose bytes aren't those that were prepared.
    """

    tables: dict[str, dict[str, Table]]
    traits: dict[str, Table]
    read: int
    missing: int
    changed: int


def choose(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Choose samples, half of each label, and within a label as many of each source as there are.

    What a small source lacks goes to the larger ones. The choice depends on the files' hashes and the seed,
    not on the order of the manifest.

    Args:
        samples: All samples.
        count: How many, at most.
        seed: Another seed chooses other samples.

    Returns:
        The chosen ones in the order given.
    """
    chosen: set[Path] = set()
    for label in (0, 1):
        groups: dict[str, list[Sample]] = {}
        for sample in samples:
            if sample.label == label:
                groups.setdefault(sample.source, []).append(sample)
        left = count // 2 if label else count - count // 2
        for place, name in enumerate(sorted(groups, key=lambda name: (len(groups[name]), name))):
            share = min(len(groups[name]), round(left / (len(groups) - place)))
            ordered = sorted(groups[name], key=lambda sample: _draw(sample, seed))
            chosen |= {sample.path for sample in ordered[:share]}
            left -= share
    return [sample for sample in samples if sample.path in chosen]


def measure(
    data: PreparedData,
    samples: Sequence[Sample],
    *,
    degradations: Degradations,
    originals: bool = True,
    tolerant: bool = False,
    seed: int = 0,
    stream: TextIO | None = None,
) -> Measured:
    """Measure samples at every stage.

    Args:
        data: The prepared data that they belong to, or that they join.
        samples: What to measure.
        degradations: The training transform.
        originals: Whether to read the original files, where they are still there.
        tolerant: Whether originals may end early.
        seed: Of the transform; a sample's view depends on it and on the sample alone.
        stream: Where progress goes; standard error when not given.

    Raises:
        DataError: A stored crop is missing or isn't a picture.
    """
    rows: list[dict[str, Vectors]] = []
    outcomes = {"read": 0, "missing": 0, "changed": 0}
    with Progress(len(samples), "audit", "pictures", stream) as progress:
        for sample in samples:
            file = None
            if originals:
                file, outcome = _original(sample, tolerant)
                outcomes[outcome] += 1
            rows.append(
                {"raw": _raw(sample, data.margin, file), **_prepared(sample, data, degradations, seed)}
            )
            progress.advance()
    tables = {
        stage: {
            name: _table([row[stage].get(name) for row in rows], len(group.names))
            for name, group in features.GROUPS.items()
        }
        for stage in STAGES
    }
    return Measured(tables, _traits(samples), **outcomes)


def trait_names(name: str) -> tuple[str, ...]:
    """Return the names of an attribute's features."""
    return {"age": ("age",), "gender": ("female",), "race": _RACES}[name]


def _draw(sample: Sample, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{sample.sha256}:{sample.path.name}".encode()).digest()


def _original(sample: Sample, tolerant: bool) -> tuple[tuple[bytes, np.ndarray] | None, str]:
    """Read an original: its bytes and its pixels, and "read", "missing" or "changed"."""
    try:
        data = Path(sample.original).read_bytes() if sample.original else b""
    except (OSError, ValueError):
        return None, "missing"
    if not data:
        return None, "missing"
    if hashlib.sha256(data).hexdigest() != sample.sha256:
        return None, "changed"
    try:
        return (data, images.decode(data, tolerant=tolerant)), "read"
    except ImageError:
        return None, "missing"


def _raw(sample: Sample, margin: float, file: tuple[bytes, np.ndarray] | None) -> Vectors:
    """Measure an original; size, face and framing are in the manifest even where the file is gone."""
    vectors: Vectors = {
        "dimensions": features.dimensions(sample.width, sample.height),
        "face_size": features.face_size(sample.face_px),
        "tightness": features.tightness(sample.box, margin, sample.width, sample.height),
    }
    if file is not None:
        data, rgb = file
        vectors |= features.of_pixels(rgb)
        vectors["file_size"] = features.file_size(len(data), rgb.shape[1], rgb.shape[0])
        vectors["jpeg"] = features.jpeg_tables(data)
    return vectors


def _prepared(
    sample: Sample, data: PreparedData, degradations: Degradations, seed: int
) -> dict[str, Vectors]:
    """Measure the stored crop, the network's input without and with the transform."""
    stored = load_stored(sample)
    side, margin = stored.shape[0], data.margin
    content = sample.path.read_bytes()
    nominal = augment.nominal(stored, sample.square)
    chance = int.from_bytes(_draw(sample, seed)[:16])
    view = augment.degraded(stored, sample.square, np.random.default_rng(chance), degradations)
    drawn = augment.frame(sample.square, np.random.default_rng(chance), degradations)
    room = features.outside_share(face_square(sample.box, margin * data.room), sample.width, sample.height)
    framed = features.outside_share(face_square(sample.box, margin), sample.width, sample.height)
    crop: Vectors = {
        **features.of_pixels(stored),
        "file_size": features.file_size(len(content), side, side),
        "dimensions": features.dimensions(side, side),
        "jpeg": features.jpeg_tables(content),
        "face_size": features.face_size(sample.square.side / margin),
        "tightness": [1 / (margin * data.room), 0.0, room],
    }
    inputs = {"input": _network(nominal, margin), "view": _network(view, margin)}
    inputs["input"]["tightness"] = [1 / margin, 0.0, framed]
    inputs["view"]["tightness"] = _drawn_tightness(sample, margin, *drawn)
    return {"crop": crop, **inputs}


def _drawn_tightness(sample: Sample, margin: float, x: float, y: float, side: float) -> list[float]:
    """Describe how a view frames its face, from the square that was drawn in pixels of the stored crop."""
    nominal, original = sample.square, face_square(sample.box, margin)
    scale = original.side / nominal.side
    square = Square(
        round(original.x + (x - side / 2 - nominal.x) * scale),
        round(original.y + (y - side / 2 - nominal.y) * scale),
        max(1, round(side * scale)),
    )
    middle = nominal.side / 2
    off_centre = float(np.hypot(x - nominal.x - middle, y - nominal.y - middle)) / side
    outside = features.outside_share(square, sample.width, sample.height)
    return [nominal.side / (margin * side), off_centre, outside]


def _network(rgb: np.ndarray, margin: float) -> Vectors:
    """Measure uint8 [128, 128, 3]: it has no file, one size, and the face at one scale."""
    return {
        **features.of_pixels(rgb),
        "file_size": features.file_size(features.png_bytes(rgb), rgb.shape[1], rgb.shape[0]),
        "dimensions": features.dimensions(rgb.shape[1], rgb.shape[0]),
        "jpeg": [0.0] * len(features.GROUPS["jpeg"].names),
        "face_size": features.face_size(INPUT_SIZE / margin),
    }


def _table(vectors: Sequence[list[float] | None], width: int) -> Table:
    values = np.array([[0.0] * width if vector is None else vector for vector in vectors], float)
    return Table(values.reshape(len(vectors), width), np.array([vector is not None for vector in vectors]))


def _traits(samples: Sequence[Sample]) -> dict[str, Table]:
    """Take what the manifest tells of the person."""
    columns: dict[str, list[list[float] | None]] = {
        "age": [None if s.age is None else [float(s.age)] for s in samples],
        "gender": [None if s.gender is None else [float(s.gender == "female")] for s in samples],
        "race": [None if s.race is None else [float(s.race == race) for race in _RACES] for s in samples],
    }
    return {name: _table(column, len(trait_names(name))) for name, column in columns.items()}
