"""Measure what each way of locating costs and loses on clips, against a full search of each frame.

Usage: python benchmarks/locator_policies.py CLIP ... [--k 2 5 10 25] [--busy] [--out FILE]

Among the clips should be talking heads, few and large faces that move little, which following is for: in a
crowd or where the picture changes all the time, it gives way to full searches.

Every frame is given to all policies in turn, each frame to another one first, so that drift of the machine
hits all alike; the time of a clip's first frame, which makes room for its size, doesn't count. Compared are:
the shipped way (`every frame`), following faces between full searches (`every K`), and three that only differ
in how a full search is done: the bundle's locator in float where a scan takes that in int8, the scan's on a
copy shrunk with INTER_AREA, and the float one in OpenCV's FaceDetectorYN. A face of the first
policy counts as found by another one where a box overlaps it by an IoU of at least 0.5.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import harness
import recording
import start
from fauxface.bundle import Bundle
from fauxface.following import Follower, locate_frame
from fauxface.locator import Location, Locator
from fauxface.manifest import Manifest
from fauxface.precision import choose, locator_beside
from fauxface.video import Frame, FrameReader
from fauxface_train.locator.decode import match
from recording import ms

REFERENCE = "every frame"
SAME_FACE = 0.5

Find = Callable[[Frame], list[Location]]


class AreaLocator:
    """Our locator on a copy that was shrunk with INTER_AREA at once."""

    def __init__(self, ours: Locator) -> None:
        self._ours, self._inner = ours, ours.shared()
        self._inner.min_scale = None  # the copy is as large as ours already: it isn't to be scaled again

    def locate(self, image: np.ndarray) -> list[Location]:
        """Return the faces of a BGR picture."""
        small, factors = area_copy(image, self._ours)
        return [scaled(face, factors) for face in self._inner.locate(small, bgr=True)]


class OpenCVLocator:
    """OpenCV's FaceDetectorYN on the copy that our locator sees."""

    def __init__(self, ours: Locator, model: bytes, manifest: Manifest) -> None:
        spec = manifest.locator
        self._ours = ours
        with quiet_opencv():
            self._detector = cv2.FaceDetectorYN.create(
                "onnx",
                np.frombuffer(model, np.uint8),
                np.zeros(0, np.uint8),
                (32, 32),
                spec.score_threshold,
                spec.nms_threshold,
                5000,
            )

    def locate(self, image: np.ndarray) -> list[Location]:
        """Return the faces of a BGR picture, which is what OpenCV decodes and what the detector takes."""
        small, factors = area_copy(image, self._ours)
        self._detector.setInputSize(small.shape[1::-1])
        _, rows = self._detector.detect(small)
        if rows is None:
            return []
        found = []
        for row in np.asarray(rows, np.float64).tolist():
            points = tuple(zip(row[4:14:2], row[5:14:2], strict=True))
            found.append(scaled(Location((row[0], row[1], row[2], row[3]), points, row[14]), factors))
        return found


def area_copy(image: np.ndarray, locator: Locator) -> tuple[np.ndarray, tuple[float, float]]:
    """Return a locator's copy, but shrunk with INTER_AREA, and how many pixels of `image` one of it spans."""
    height, width = image.shape[:2]
    scale = locator.scale(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, (width / size[0], height / size[1])


def scaled(face: Location, factors: tuple[float, float]) -> Location:
    """Return a face of a small copy in pixels of the picture."""
    (x, y, w, h), (fx, fy) = face.box, factors
    points = tuple((fx * px, fy * py) for px, py in face.landmarks)
    return Location((fx * x, fy * y, fx * w, fy * h), points, face.score)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Hold back OpenCV's log while a detector is made."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


@dataclass
class Tally:
    """What one policy found on one clip.

    Attributes:
        seconds: Time of each frame but the first.
        frames: How many there were.
        faces, judged: Faces of the reference, and those of them that are large enough for a verdict.
        found, judged_found: How many of them the policy found.
        extra: Faces that the reference doesn't have.
        shifts: Largest distance of the two boxes' edges over the face's size, for each face found.
    """

    seconds: list[float] = field(default_factory=list)
    frames: int = 0
    faces: int = 0
    judged: int = 0
    found: int = 0
    judged_found: int = 0
    extra: int = 0
    shifts: list[float] = field(default_factory=list)

    def add(self, reference: list[Location], found: list[Location], smallest: float) -> None:
        """Compare a frame's faces with the reference's."""
        truth = np.array([face.box for face in reference]).reshape(-1, 4)
        mine = np.array([face.box for face in found]).reshape(-1, 4)
        large = truth[:, 2:].max(axis=1, initial=0) >= smallest
        self.frames += 1
        pairs = match(truth, mine, SAME_FACE)
        self.faces += len(truth)
        self.judged += int(large.sum())
        self.found += len(pairs)
        self.judged_found += sum(bool(large[i]) for i, _, _ in pairs)
        self.extra += len(mine) - len(pairs)
        for i, j, _ in pairs:
            edges = [np.concatenate([box[:2], box[:2] + box[2:]]) for box in (truth[i], mine[j])]
            self.shifts.append(float(np.abs(edges[0] - edges[1]).max() / truth[i, 2:].max()))

    def row(self, policy: str, clip: str, reference: "Tally") -> dict[str, Any]:
        """Return the numbers for the report."""
        return {
            "policy": policy,
            "clip": clip,
            "frames": self.frames,
            "faces": self.faces,
            "judged": self.judged,
            "recall": _share(self.found, self.faces),
            "recall_judged": _share(self.judged_found, self.judged),
            "extra": self.extra,
            "box_shift_p95": round(float(np.percentile(self.shifts, 95)), 4) if self.shifts else None,
            "p50_ms": ms(self.seconds) if self.seconds else None,
            "mean_ms": round(1000 * float(np.mean(self.seconds)), 3) if self.seconds else None,
            "speed": round(sum(reference.seconds) / sum(self.seconds), 2) if self.seconds else None,
        }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def measure(clip: Path, bundle: Bundle, ks: list[int], every: int) -> list[dict[str, Any]]:
    """Return a row per policy; see `compare`."""
    model, manifest = bundle.locator_bytes(), bundle.manifest
    ours, plain = (Locator.from_spec(data, manifest.locator) for data in (in_use(bundle), model))
    area, opencv = AreaLocator(ours), OpenCVLocator(ours, model, manifest)
    policies: dict[str, Find] = {REFERENCE: lambda frame: locate_frame(ours, frame)}
    policies |= {f"every {k}": Follower(ours.shared(), k).locate for k in ks}
    policies |= {
        "float locator": lambda frame: locate_frame(plain, frame),
        "INTER_AREA copy": lambda frame: area.locate(frame.pixels),
        "FaceDetectorYN": lambda frame: opencv.locate(frame.pixels),
    }
    return compare(clip, policies, every, manifest.crop.min_face_px)


def in_use(bundle: Bundle) -> bytes:
    """Return the file of the locator that a scan on the CPU takes."""
    manifest = bundle.manifest
    classifier = choose(manifest.classifier, "cpu", weight_bits=manifest.int8_weight_bits)
    return locator_beside(bundle, classifier)


def compare(clip: Path, policies: dict[str, Find], every: int, smallest: float) -> list[dict[str, Any]]:
    """Give the frames of a clip to all policies in turn and return a row for each.

    Args:
        clip: A video file.
        policies: Ways of locating by name; the first one is the reference.
        every: Use every N-th frame.
        smallest: Longer side in pixels from which a face is large enough for a verdict.
    """
    names = list(policies)
    reference = names[0]
    tallies = {name: Tally() for name in names}
    with FrameReader(clip, every=every) as reader:
        for number, frame in enumerate(reader):
            found = {}
            for name in harness.turned(names, number):
                since = time.perf_counter()
                found[name] = policies[name](frame)
                if number:
                    tallies[name].seconds.append(time.perf_counter() - since)
            for name, tally in tallies.items():
                tally.add(found[reference], found[name], smallest)
    return [tally.row(name, clip.name, tallies[reference]) for name, tally in tallies.items()]


def options(description: str | None, name: str, every: int) -> argparse.ArgumentParser:
    """Return a parser with the options that both locator scripts share; `every` is a default."""
    made = recording.parser(description, name)
    made.add_argument("clips", nargs="+", type=Path)
    made.add_argument(
        "--every", type=harness.positive, default=every, help="use every N-th frame of a clip [%(default)s]"
    )
    return made


def keep(arguments: argparse.Namespace, measure: Callable[[Path], list[dict[str, Any]]]) -> None:
    """Measure the clips, print each row and write them all.

    Raises:
        BusyError: The machine has other work.
        VideoError: A clip is missing or can't be read.
    """
    cv2.setNumThreads(1)
    clips = recording.clips(arguments.clips, Path())
    began = start.before(arguments)
    rows = []
    for clip in clips:
        for row in measure(clip):
            rows.append(row)
            sys.stdout.write(_line(row))
    recording.save(arguments, began, {"every": arguments.every, "rows": rows})


def _line(row: dict[str, Any]) -> str:
    """Return a row in words."""
    return (
        f"{row['clip']} {row['policy']}: recall {row['recall']} (of judged faces {row['recall_judged']}), "
        f"{row['extra']} extra, {row['mean_ms']} ms, {row['speed']}x\n"
    )


def main() -> None:
    """Measure, print, write the JSON."""
    parser = options(__doc__, "locator_policies", every=1)
    parser.add_argument("--k", type=harness.positive, nargs="+", default=[2, 5, 10, 25])
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    keep(arguments, lambda clip: measure(clip, bundle, arguments.k, arguments.every))


if __name__ == "__main__":
    harness.run(main)
