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
from fauxface_train.locator.decode import match

MATCH_IOU = 0.5
"""Smallest IoU at which a face counts as found and as right."""
CLOSE_IOU = 0.6
"""IoU of the stricter share, `found_close`."""


@dataclass(slots=True)
class Tally:
    """Sums over the pictures of one group at one size.

    Attributes:
        pictures: How many pictures.
        reference: Faces that the reference finds.
        found: Faces that the locator finds.
        matched: One-to-one pairs with IoU >= 0.5.
        close: Those with IoU >= 0.6.
        large: Reference faces of at least the smallest size asked for, in pixels of the network's input.
        large_matched: Those among them that were matched.
        overlap: Sum of IoU over the pairs.
        landmark_errors: Of each pair, the mean distance of the landmarks over the longer side of the box.
    """

    pictures: int = 0
    reference: int = 0
    found: int = 0
    matched: int = 0
    close: int = 0
    large: int = 0
    large_matched: int = 0
    overlap: float = 0.0
    landmark_errors: list[float] = field(default_factory=list)

    def add(self, reference: Sequence[Location], found: Sequence[Location], smallest: float) -> None:
        """Count one picture.

        Args:
            reference: The reference's faces.
            found: The locator's faces.
            smallest: Reference faces with a longer side below this many pixels don't count as large.
        """
        pairs = match(_boxes(reference), _boxes(found), MATCH_IOU)
        self.pictures += 1
        self.reference += len(reference)
        self.found += len(found)
        self.matched += len(pairs)
        matched = {row for row, _, _ in pairs}
        for row, face in enumerate(reference):
            if max(face.box[2:]) >= smallest:
                self.large += 1
                self.large_matched += row in matched
        for row, column, overlap in pairs:
            self.overlap += overlap
            self.close += overlap >= CLOSE_IOU
            distance = np.subtract(reference[row].landmarks, found[column].landmarks)
            error = np.linalg.norm(distance, axis=1).mean() / max(reference[row].box[2:])
            self.landmark_errors.append(float(error))

    def to_dict(self) -> dict[str, float | int | None]:
        """Return counts and rates; a rate without anything to count is None."""
        return {
            "pictures": self.pictures,
            "reference_faces": self.reference,
            "found_faces": self.found,
            "matched": self.matched,
            "recall": _rate(self.matched, self.reference),
            "recall_24px": _rate(self.large_matched, self.large),
            "found_close": _rate(self.close, self.reference),
            "precision": _rate(self.matched, self.found),
            "mean_iou": _rate(self.overlap, self.matched),
            "landmark_error": _rate(sum(self.landmark_errors), self.matched),
        }


def pictures(paths: Sequence[Path], every: int, skipped: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the pictures and frames below the paths.

    Args:
        paths: Pictures, videos and folders (searched recursively).
        every: Of a video, every n-th frame.
        skipped: Receives one line for each file that can't be read.

    Yields:
        The name of the given path, and uint8 [H, W, 3], RGB.

    Raises:
        DataError: A path is missing, or a folder holds nothing readable by its suffix.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"no such file or folder: {path}; give pictures, videos or folders")
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        files = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
        if not files:
            raise DataError(f"no picture or video in {path}; give pictures, videos or folders")
        for file in files:
            try:
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    yield str(path), images.read(file)
                    continue
                with FrameReader(file, every=every) as reader:
                    for frame in reader:
                        yield str(path), frame.image
            except FauxfaceError as error:
                skipped.append(f"{file}: {error}")


def compare(
    locator: bytes,
    reference: bytes,
    paths: Sequence[Path],
    *,
    every: int = 10,
    sides: Sequence[int] = (640, 320),
    threshold: float = 0.6,
    reference_threshold: float = 0.6,
    smallest: float = 24.0,
) -> dict[str, object]:
    """Compare two locators as the runtime runs them.

    Args:
        locator: ONNX file content of the locator to judge.
        reference: ONNX file content of the one that it is judged by.
        paths: Pictures, videos and folders; each path given is a group of its own.
        every: Of a video, every n-th frame.
        sides: Limits of the longer side of the network's input, in pixels; each is reported for itself.
        threshold: Score threshold of the locator.
        reference_threshold: Score threshold of the reference.
        smallest: Smallest face of `recall_24px`, in pixels of the network's input.

    Returns:
        Settings, `skipped` files, and `sides`: for each limit the rates of `all` pictures and of each of the
        `groups`, and the median milliseconds `locator_ms` and `reference_ms`.

    Raises:
        BundleError: A file isn't in YuNet's format.
        DataError: Nothing to compare on.
    """
    tallies: dict[int, dict[str, Tally]] = {side: {} for side in sides}
    times: dict[int, list[tuple[float, float]]] = {side: [] for side in sides}
    pairs = {
        side: (
            Locator(locator, threshold, max_side=side),
            Locator(reference, reference_threshold, max_side=side),
        )
        for side in sides
    }
    skipped: list[str] = []
    for group, image in pictures(paths, every, skipped):
        for side, (judged, judge) in pairs.items():
            scale = min(1.0, side / max(image.shape[:2]))
            mine, mine_s = _timed(judged, image)
            truth, truth_s = _timed(judge, image)
            times[side].append((mine_s, truth_s))
            tallies[side].setdefault(group, Tally()).add(truth, mine, smallest / scale)
            tallies[side].setdefault("", Tally()).add(truth, mine, smallest / scale)
    if not any(times.values()):
        raise DataError(f"none of the files could be read: {skipped[0] if skipped else 'none given'}")
    report: dict[str, object] = {}
    for side in sides:
        mine_ms, truth_ms = np.median(np.array(times[side]), axis=0) * 1e3
        whole = tallies[side].pop("")
        report[str(side)] = {
            "all": whole.to_dict(),
            "groups": {group: tally.to_dict() for group, tally in tallies[side].items()},
            "locator_ms": round(float(mine_ms), 3),
            "reference_ms": round(float(truth_ms), 3),
        }
    return {
        "threshold": threshold,
        "reference_threshold": reference_threshold,
        "every": every,
        "smallest_px": smallest,
        "opencv_threads": cv2.getNumThreads(),
        "sides": report,
        "skipped": skipped,
    }


def table(report: dict[str, object]) -> str:
    """Return a report of `compare` as lines for a terminal."""
    columns = ("recall", "recall_24px", "found_close", "precision", "mean_iou", "landmark_error")
    lines = []
    sides = report["sides"]
    assert isinstance(sides, dict)
    for side, values in sides.items():
        head = f"longest side <= {side} px: locator {values['locator_ms']:.2f} ms,"
        lines.append(f"{head} reference {values['reference_ms']:.2f} ms (median)")
        lines.append(f"  {'faces':>7} {'found':>7} " + " ".join(f"{name:>14}" for name in columns))
        for group, rates in [*values["groups"].items(), ("all", values["all"])]:
            cells = " ".join(
                f"{'-' if rates[name] is None else f'{rates[name]:.4f}':>14}" for name in columns
            )
            lines.append(f"  {rates['reference_faces']:>7} {rates['found_faces']:>7} {cells}  {group}")
    skipped = report["skipped"]
    assert isinstance(skipped, list)
    return "\n".join(lines + [f"skipped: {line}" for line in skipped])


def _boxes(faces: Sequence[Location]) -> np.ndarray:
    return np.array([face.box for face in faces], np.float64).reshape(-1, 4)


def _rate(part: float, whole: int) -> float | None:
    return round(part / whole, 5) if whole else None


def _timed(locator: Locator, image: np.ndarray) -> tuple[list[Location], float]:
    start = time.perf_counter()
    faces = locator.locate(image)
    return faces, time.perf_counter() - start
