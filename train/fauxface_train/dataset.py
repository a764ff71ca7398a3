"""Reading what `fauxface data prepare` wrote: the manifest, the stored crops and the classifier's input."""

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fauxface import crops
from fauxface.crops import Square
from fauxface.errors import DataError
from fauxface.files import atomic_write

FORMAT = "fauxface.prepared/1"
SPLITS = ("train", "val", "test")
FOLDER_LABELS = ("real", "fake")
"""Names of the label folders, in label order: 0 is bona fide, 1 is generated."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_SIDE = 1_000_000
_MAX_SQUARE = 10_000
_MAX_FACTOR = 100

COLUMNS = (
    "crop",
    "split",
    "label",
    "source",
    "sha256",
    "original",
    "format",
    "width",
    "height",
    "box_x",
    "box_y",
    "box_w",
    "box_h",
    "locator_score",
    "landmarks",
    "square_x",
    "square_y",
    "square_side",
    "age",
    "gender",
    "race",
    "dhash",
)
"""The manifest's columns, in order; docs/data.md describes each."""

_SINCE = frozenset({"landmarks"})
"""Columns that older prepared data lack."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One prepared face.

    Attributes:
        path: The stored crop, a PNG.
        split: "train", "val" or "test".
        label: 0 bona fide, 1 generated.
        source: Where the picture comes from: a data set, a camera or a generator.
        square: The nominal crop, in pixels of the stored crop; what the runtime would cut.
        sha256: Hash of the original file's bytes.
        original: The original file, as given or found.
        format: Container of the original file, for example "JPEG".
        width: Width of the upright original picture in pixels.
        height: Height of the upright original picture in pixels.
        box: Face box x, y, width, height in pixels of the upright original picture.
        locator_score: The locator's score in [0, 1]; None where the whole picture was taken.
        landmarks: Right eye, left eye, nose, right and left corner of the mouth as (x, y) in pixels of the
            upright original picture; empty where they aren't known.
        age: Age in years, where the name told it.
        gender: "male" or "female", where the name told it.
        race: UTKFace's group ("white", "black", "asian", "indian", "other"), where the name told it.
        dhash: 64-bit difference hash of the nominal crop, 16 hex digits.
    """

    path: Path
    split: str
    label: int
    source: str
    square: Square
    sha256: str
    original: str
    format: str
    width: int
    height: int
    box: crops.Box
    locator_score: float | None
    age: int | None
    gender: str | None
    race: str | None
    dhash: str
    landmarks: tuple[tuple[float, float], ...] = ()

    @property
    def face_px(self) -> float:
        """Longer side of the face box in pixels of the original picture."""
        return max(self.box[2], self.box[3])


class PreparedData:
    """A folder written by `fauxface data prepare`.

    Attributes:
        root: The folder.
        info: prepare.json: the crop rule, locator hash, seed and counts that the data were prepared with.
    """

    def __init__(self, root: Path, info: dict[str, Any], samples: Iterable[Sample]) -> None:
        self.root = root
        self.info = info
        self._samples = tuple(samples)

    @classmethod
    def load(cls, folder: str | Path) -> "PreparedData":
        """Read the manifest of a prepared folder.

        Args:
            folder: The OUT of `fauxface data prepare`.

        Raises:
            DataError: The folder isn't prepared data, is unfinished, of another version, or empty.
        """
        root = Path(folder)
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; give the OUT folder of 'fauxface data prepare'")
        if not (root / "manifest.csv").is_file() or not (root / "prepare.json").is_file():
            raise DataError(
                f"{root} holds no finished prepared data (manifest.csv and prepare.json); "
                "run 'fauxface data prepare SRC... OUT', which also finishes an interrupted run"
            )
        info = _read_info(root / "prepare.json")
        samples = _read_manifest(root)
        if not samples:
            raise DataError(f"{root / 'manifest.csv'} lists no picture; run 'fauxface data prepare' again")
        return cls(root, info, samples)

    @property
    def whole(self) -> bool:
        """Whether these are whole pictures, in place of faces that were located and cut out."""
        return self.info.get("faces") == "whole"

    @property
    def margin(self) -> float:
        """Side of the nominal crop over the longer side of the face box; 1.0 for whole pictures."""
        return float(self.info["crop"]["margin"])

    @property
    def min_face_px(self) -> int:
        """Smaller faces, or whole pictures, were left out: by the longer side of the box in pixels."""
        return int(self.info["crop"].get("min_face_px", 0))

    @property
    def room(self) -> float:
        """Side of the stored crop over the side of the nominal crop: the space for jitter."""
        return float(self.info["room"])

    def __len__(self) -> int:
        return len(self._samples)

    def samples(self, split: str | None = None, label: int | None = None) -> list[Sample]:
        """Return samples in manifest order.

        Args:
            split: Only this split: "train", "val" or "test".
            label: Only this label: 0 bona fide, 1 generated.
        """
        return [
            s
            for s in self._samples
            if (split is None or s.split == split) and (label is None or s.label == label)
        ]

    def sources(self, label: int | None = None) -> list[str]:
        """Return the sorted names of the sources, of one label or of both."""
        return sorted({s.source for s in self._samples if label is None or s.label == label})


def check_framing(data: PreparedData, margin: float | None, *, whole: bool, wanted_by: str) -> None:
    """Refuse data that show something else than a model was made for; of one for faces, whole pictures pass.

    Args:
        data: The prepared data.
        margin: The model's crop margin; None where it isn't known.
        whole: Whether the model was trained on whole pictures.
        wanted_by: What to call the model.

    Raises:
        DataError: The data hold faces that were cut out and the model is one of whole pictures, or they were
            cut with another margin.
    """
    if whole and not data.whole:
        raise DataError(
            f"{wanted_by} was trained on whole pictures, {data.root} holds faces that were cut out; "
            "prepare the data again with --faces whole"
        )
    if margin is None or data.whole or abs(margin - data.margin) <= 1e-6:
        return
    raise DataError(
        f"{data.root} was cut with margin {data.margin:g}, {wanted_by} wants {margin:g}; "
        "prepare the data again with the model's margin"
    )


def other_locator(data: PreparedData, sha256: str) -> bool:
    """Tell whether faces were cut where another locator found them than the one with this hash."""
    return data.info.get("locator_sha256") not in (None, sha256)


def load_stored(sample: Sample) -> np.ndarray:
    """Read a stored crop: the nominal square with the room around it.

    Returns:
        uint8 [S, S, 3], RGB.

    Raises:
        DataError: The file is missing or isn't a picture.
    """
    try:
        data = sample.path.read_bytes()
    except OSError as error:
        raise DataError(
            f"can't read {sample.path}: {error.strerror or error}; run 'fauxface data prepare' again"
        ) from error
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise DataError(f"{sample.path} is corrupt; remove it and run 'fauxface data prepare' again")
    (height, width), square = image.shape[:2], sample.square
    if height != width:
        raise DataError(f"{sample.path} isn't square; remove it and run 'fauxface data prepare' again")
    if not (-square.side < square.x < width and -square.side < square.y < height):
        raise DataError(f"the square of {sample.path} lies outside it; run 'fauxface data prepare' again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def load_crop(sample: Sample) -> np.ndarray:
    """Return the classifier's input for a sample, made by the runtime's own crop code.

    Returns:
        uint8 [128, 128, 3], RGB.

    Raises:
        DataError: The stored crop is missing or isn't a picture.
    """
    return crops.to_input(crops.extract(load_stored(sample), sample.square))


def write_manifest(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a manifest, one row per crop with a value for each of `COLUMNS`, in the given order."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list[str](COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Write a document beside a manifest, for example prepare.json; return its path."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    return path


def _read_info(path: Path) -> dict[str, Any]:
    """Read and check prepare.json."""
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"can't read {path}: {error}; run 'fauxface data prepare' again") from error
    found = info.get("format") if isinstance(info, dict) else None
    if found != FORMAT:
        raise DataError(
            f"{path} has format {found!r}, this release reads {FORMAT!r}; prepare the data again elsewhere"
        )
    crop = info.get("crop")
    for name, value in (
        ("crop.margin", crop.get("margin") if isinstance(crop, dict) else None),
        ("room", info.get("room")),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MAX_FACTOR:
            raise DataError(f"{path}: {name} must be a number above 0, not {value!r}; prepare the data again")
    smallest = crop.get("min_face_px", 0) if isinstance(crop, dict) else 0
    if isinstance(smallest, bool) or not isinstance(smallest, int | float) or not 0 <= smallest < math.inf:
        raise DataError(
            f"{path}: crop.min_face_px must be a number of pixels, not {smallest!r}; prepare the data again"
        )
    return info


def _read_manifest(root: Path) -> list[Sample]:
    """Read manifest.csv into samples."""
    path = root / "manifest.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := set(COLUMNS) - _SINCE - set(reader.fieldnames or ()):
                raise DataError(
                    f"{path} lacks columns {', '.join(sorted(missing))}; run 'fauxface data prepare' again"
                )
            return [_sample(root, row, path, number) for number, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"can't read {path}: {error}; run 'fauxface data prepare' again") from error


def _landmarks(text: str) -> tuple[tuple[float, float], ...]:
    """Read "x y x y ...", ten numbers, or nothing."""
    numbers = [float(word) for word in text.split()]
    if len(numbers) not in (0, 10) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"landmarks must be ten finite numbers, not {text!r}")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _sample(root: Path, row: dict[str, str], path: Path, number: int) -> Sample:
    """Turn one manifest row into a Sample."""
    try:
        if row["split"] not in SPLITS:
            raise ValueError(f"unknown split {row['split']!r}")
        crop = Path(row["crop"])
        if crop.is_absolute() or ".." in crop.parts:
            raise ValueError(f"the crop {row['crop']!r} lies outside the folder")
        if not _SHA256.fullmatch(row["sha256"]):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, not {row['sha256']!r}")
        for name, most in (("width", _MAX_SIDE), ("height", _MAX_SIDE), ("square_side", _MAX_SQUARE)):
            if not 0 < int(row[name]) <= most:
                raise ValueError(f"{name} must be 1 to {most}, not {row[name]}")
        for name in ("box_x", "box_y", "box_w", "box_h"):
            if not math.isfinite(float(row[name])):
                raise ValueError(f"{name} must be finite, not {row[name]}")
        return Sample(
            path=root / crop,
            split=row["split"],
            label=FOLDER_LABELS.index(row["label"]),
            source=row["source"],
            square=Square(int(row["square_x"]), int(row["square_y"]), int(row["square_side"])),
            sha256=row["sha256"],
            original=row["original"],
            format=row["format"],
            width=int(row["width"]),
            height=int(row["height"]),
            box=(float(row["box_x"]), float(row["box_y"]), float(row["box_w"]), float(row["box_h"])),
            locator_score=float(row["locator_score"]) if row["locator_score"] else None,
            age=int(row["age"]) if row["age"] else None,
            gender=row["gender"] or None,
            race=row["race"] or None,
            dhash=row["dhash"],
            landmarks=_landmarks(row.get("landmarks") or ""),
        )
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} line {number}: {error}; run 'fauxface data prepare' again") from error
