"""A face locator against a reference: what it finds of its faces, what more, how exactly, how fast."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from fauxface import images
from fauxface.errors import DataError, FauxfaceError
from fauxface.locator import Location, Locator
from fauxface.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from fauxface.video import FrameReader
from fauxface.yunet import DIVISOR
from fauxface_train import layouts
from fauxface_train.locator import conditions as conditions_module
from fauxface_train.locator.cost import multiply_adds
from fauxface_train.locator.tally import NOMINAL_SIDE, Tally, nominal_scale

_TIMED_PICTURES, _TIMED_ROUNDS = 12, 5


@dataclass(slots=True)
class File:
    """A picture or video to compare on.

    Attributes:
        path: Where it lies.
        groups: Names of the given paths that it belongs to.
        negatives: Names of those among the paths given as free of faces.
    """

    path: Path
    groups: list[str] = field(default_factory=list)
    negatives: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a comparison depends on beside the models and the pictures.

    Attributes:
        every: Of a video, every n-th frame.
        sides: Limits of the longer side of the network's input, in pixels; each is reported for itself.
        min_scale: As of `Locator`: large pictures are searched in a copy of this share, at most a side.
        threshold: Score threshold of the locator.
        reference_threshold: Score threshold of the reference.
        smallest: Smallest face that is judged: its longer side in pixels of a copy of at most 320 pixels.
        condition_pictures: Most pictures per condition.
        seed: Seed of the conditions.
    """

    every: int = 10
    sides: tuple[int, ...] = (640, 320)
    min_scale: float | None = None
    threshold: float = 0.6
    reference_threshold: float = 0.6
    smallest: float = 24.0
    condition_pictures: int = 200
    seed: int = 0


def gather(paths: Sequence[Path], negatives: Sequence[Path] = ()) -> list[File]:
    """Return each picture and video below the paths once, whichever and however many paths hold it.

    Args:
        paths: Pictures, videos and folders (searched recursively).
        negatives: The same, where every face that is found is a false one.

    Raises:
        DataError: A path is missing, or a folder holds nothing readable by its suffix, or can't be read.
    """
    files: dict[Path, File] = {}
    for given, negative in [*((p, False) for p in paths), *((p, True) for p in negatives)]:
        if not given.exists():
            raise DataError(f"no such file or folder: {given}; give pictures, videos or folders")
        below = sorted(p for p in layouts.walk(given) if p.is_file()) if given.is_dir() else [given]
        below = [p for p in below if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
        if not below:
            raise DataError(f"no picture or video in {given}; give pictures, videos or folders")
        for path in below:
            file = files.setdefault(path.resolve(), File(path))
            names = file.negatives if negative else file.groups
            if str(given) not in names:
                names.append(str(given))
    return list(files.values())


def compare(
    locator: bytes,
    reference: bytes,
    paths: Sequence[Path],
    settings: Settings | None = None,
    *,
    negatives: Sequence[Path] = (),
    faces: Sequence[Path] = (),
) -> dict[str, object]:
    """Compare two locators as the runtime runs them.

    Args:
        locator: ONNX file content of the locator to judge.
        reference: ONNX file content of the one that it is judged by.
        paths: Pictures, videos and folders; each path given is a group of its own, and a picture that several
            of them hold counts once in the pool.
        settings: Sizes and thresholds.
        negatives: Pictures without faces; what is found there is counted for both, of any size.
        faces: Pictures with a face each, from which the hard conditions are made.

    Returns:
        Settings, `skipped` files, and `sides`: for each limit the rates of `all` pictures, of each of the
        `groups`, what was found in `negatives`, the rates under each of the `conditions`, and `time`.

    Raises:
        BundleError: A file isn't in YuNet's format.
        DataError: Nothing to compare on.
    """
    settings = settings or Settings()
    pairs = {
        side: _Pair(
            Locator(locator, settings.threshold, max_side=side, min_scale=settings.min_scale),
            Locator(reference, settings.reference_threshold, max_side=side, min_scale=settings.min_scale),
        )
        for side in settings.sides
    }
    files = gather(paths, negatives)
    pools = {side: Tally(settings.smallest) for side in settings.sides}
    groups, clean = (
        {side: {name: Tally(settings.smallest) for name in names} for side in settings.sides}
        for names in ([n for f in files for n in f.groups], [n for f in files for n in f.negatives])
    )
    skipped: list[str] = []
    copies: list[np.ndarray] = []
    for file in files:
        for number, image in enumerate(_frames(file.path, settings.every, skipped)):
            if number == 0 and len(copies) < _TIMED_PICTURES:
                copies.append(image)
            for side, pair in pairs.items():
                seen = pair.locate(image)
                scale = nominal_scale(image)
                if file.groups:
                    pools[side].add(*seen, scale, str(file.path))
                for names, tallies in ((file.groups, groups), (file.negatives, clean)):
                    for name in names:
                        tallies[side][name].add(*seen, scale, str(file.path))
    if not copies:
        raise DataError(f"none of the files could be read: {skipped[0] if skipped else 'none given'}")
    hard = _under_conditions(pairs, faces, settings, skipped) if faces else {}
    return {
        "threshold": settings.threshold,
        "reference_threshold": settings.reference_threshold,
        "every": settings.every,
        "grouped": True,
        "min_scale": settings.min_scale,
        "smallest_px": settings.smallest,
        "nominal_side_px": NOMINAL_SIDE,
        "seed": settings.seed,
        "opencv_threads": cv2.getNumThreads(),
        "sides": {
            str(side): {
                "all": pools[side].to_dict(),
                "groups": {name: tally.to_dict() for name, tally in groups[side].items()},
                "negatives": {name: tally.to_false_faces() for name, tally in clean[side].items()},
                "conditions": {name: tally.to_dict() for name, tally in hard.get(side, {}).items()},
                "time": _time(pair, copies, side)
                | {
                    "locator_macs": multiply_adds(locator, searched(pair.judged, side)),
                    "reference_macs": multiply_adds(reference, searched(pair.judge, side)),
                },
            }
            for side, pair in pairs.items()
        },
        "skipped": skipped,
    }


def searched(locator: Locator, side: int) -> int:
    """Return the side of the input in which a locator searches a square picture of this side."""
    copy = round(side * locator.scale(side, side))
    return -(-copy // DIVISOR) * DIVISOR


@dataclass(slots=True)
class _Pair:
    judged: Locator
    judge: Locator

    def locate(self, image: np.ndarray) -> tuple[list[Location], list[Location]]:
        """Return the reference's faces and the locator's."""
        return self.judge.locate(image), self.judged.locate(image)


def _frames(path: Path, every: int, skipped: list[str]) -> Iterator[np.ndarray]:
    """Yield a picture or a video's frames, uint8 [H, W, 3], RGB; a file that can't be read is noted."""
    try:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            yield images.read(path)
            return
        with FrameReader(path, every=every) as reader:
            for frame in reader:
                yield frame.image
    except FauxfaceError as error:
        skipped.append(f"{path}: {error}")


def _under_conditions(
    pairs: dict[int, _Pair], faces: Sequence[Path], settings: Settings, skipped: list[str]
) -> dict[int, dict[str, Tally]]:
    """Count on changed pictures; only those count in which the reference finds a face before the change."""
    names = [*conditions_module.CONDITIONS, conditions_module.CHILDREN]
    tallies = {side: {name: Tally(settings.smallest) for name in names} for side in pairs}
    pictures = [file.path for file in gather(faces) if file.path.suffix.lower() in IMAGE_SUFFIXES]
    some = set(conditions_module.choose(pictures, settings.condition_pictures, settings.seed))
    children = [path for path in pictures if conditions_module.is_child(path)]
    young = set(conditions_module.choose(children, settings.condition_pictures, settings.seed))
    for path in pictures:
        if path not in some | young:
            continue
        for image in _frames(path, 1, skipped):
            judge = pairs[max(pairs)].judge
            if not (known := judge.locate(image)):
                continue
            changed = {}
            if path in some:
                for name, change in conditions_module.CONDITIONS.items():
                    changed[name] = change(
                        image, known[0], conditions_module.rng_for(path, name, settings.seed)
                    )
            if path in young:
                changed[conditions_module.CHILDREN] = image
            for name, picture in changed.items():
                for side, pair in pairs.items():
                    tallies[side][name].add(*pair.locate(picture), nominal_scale(picture))
    return tallies


def _time(pair: _Pair, images_: Sequence[np.ndarray], side: int) -> dict[str, object]:
    """Time both by turns on frames of one size, so that neither is charged for a change of size."""
    frames = []
    for image in images_:
        scale = side / max(image.shape[:2])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        frame = np.zeros((side, side, 3), np.uint8)
        frame[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        frames.append(frame)
    pair.locate(frames[0])
    times: list[tuple[float, float]] = []
    for number in range(_TIMED_ROUNDS * len(frames)):
        frame = frames[number % len(frames)]
        first, second = (pair.judged, pair.judge) if number % 2 else (pair.judge, pair.judged)
        one, other = _seconds(first, frame), _seconds(second, frame)
        times.append((one, other) if number % 2 else (other, one))
    values = np.array(times) * 1e3
    mine, truth = np.median(values, axis=0)
    return {
        "frames": len(values),
        "frame_px": [side, side],
        "locator_ms": round(float(mine), 3),
        "reference_ms": round(float(truth), 3),
        "locator_ms_p90": round(float(np.percentile(values[:, 0], 90)), 3),
        "reference_ms_p90": round(float(np.percentile(values[:, 1], 90)), 3),
        "ratio": round(float(mine / truth), 4),
    }


def _seconds(locator: Locator, image: np.ndarray) -> float:
    start = time.perf_counter()
    locator.locate(image)
    return time.perf_counter() - start
