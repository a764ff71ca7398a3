"""What a query does: from faces in a picture to their verdicts, alone, together, or with the locator."""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from fauxface.bundle import Bundle
from fauxface.crops import Box, extract, face_square, to_input, whole_square
from fauxface.cutting import cut
from fauxface.finding import LOCATOR_THREADS
from fauxface.locator import FaceLocator, Location, Locator
from fauxface.precision import locator_beside
from fauxface.session import Classifier
from fauxface.video import Frame

Scene = tuple[np.ndarray, Box]
"""A picture, RGB uint8 [H, W, 3], and the box of a face in it."""

Verdict = tuple[str, str | None]

_SCENE = (640, 480)
_FACE_PX = 200


class Judge:
    """Takes faces from picture to verdict: crop, preprocessing, classifier, calibration, thresholds.

    Args:
        bundle: The bundle.
        classifier: An open classifier of it.
        precision: The classifier's precision.
    """

    def __init__(self, bundle: Bundle, classifier: Classifier, precision: str = "fp32") -> None:
        self._manifest, self._classifier = bundle.manifest, classifier
        self._point = bundle.manifest.operating_point(precision)

    def crop(self, scenes: Sequence[Scene]) -> np.ndarray:
        """Return the classifier's input: uint8 [N, 128, 128, 3], RGB; N is at least 1."""
        margin = self._manifest.crop.margin
        return np.stack([to_input(extract(image, face_square(box, margin))) for image, box in scenes])

    def crop_frame(self, frame: Frame, places: list[Location]) -> np.ndarray:
        """Return the faces of a video's frame, cut as a scan cuts them: uint8 [N, 128, 128, 3], RGB."""
        return np.stack(cut("", frame, places, self._manifest.crop.margin).crops)

    def classify(self, crops: np.ndarray, places: Sequence[Location]) -> list[Verdict]:
        """Return label and reason of each crop."""
        probabilities = self._point.calibration.probability(self._classifier.logits(crops)).tolist()
        smallest, gates = self._manifest.crop.min_face_px, self._manifest.gates
        return [
            self._point.thresholds.verdict(
                p, int(max(place.box[2:])), smallest, gates.failure(crop, place.landmarks)
            )
            for p, crop, place in zip(probabilities, crops, places, strict=True)
        ]

    def __call__(self, scenes: Sequence[Scene]) -> list[Verdict]:
        """Return label and reason of each face."""
        return self.classify(self.crop(scenes), [Location(box, (), float("nan")) for _, box in scenes])


def scenes(bundle: Bundle) -> list[Scene]:
    """Return the golden crops as faces of 200 px in pictures of 640x480, so that they have to be cut out.

    The face's crop by the bundle's rule is the golden crop, enlarged.
    """
    crops, _ = bundle.golden()
    margin = bundle.manifest.crop.margin
    width, height = _SCENE
    made = []
    for crop in crops:
        image = np.full((height, width, 3), 96, np.uint8)
        x, y = (width - _FACE_PX) // 2, (height - _FACE_PX) // 2
        image[y : y + _FACE_PX, x : x + _FACE_PX] = cv2.resize(crop, (_FACE_PX, _FACE_PX))
        side = _FACE_PX / margin
        box = (x + (_FACE_PX - side) / 2, y + (_FACE_PX - side) / 2, side, side)
        made.append((image, box))
    return made


class FaceQuery:
    """Judges the next faces of some scenes, taken in turn.

    Args:
        judge: What judges them.
        scenes: The scenes, at least one.
        faces: Faces per query, at least 1.
    """

    def __init__(self, judge: Judge, scenes: Sequence[Scene], faces: int) -> None:
        self._judge, self._scenes, self._faces = judge, itertools.cycle(scenes), faces

    def __call__(self) -> list[Verdict]:
        """Return the verdicts of the next faces."""
        return self._judge(list(itertools.islice(self._scenes, self._faces)))


class FrameQuery:
    """Locates the faces of the next frame, then judges as many as asked for: a camera's frame, decoded.

    The faces that are there are taken in turn, whatever their number; where there is none, the central square
    is one. So the load of a frame is the same for all frames.

    Args:
        locator: What locates.
        judge: What judges.
        frames: RGB uint8 [H, W, 3] each, taken in turn; at least one.
        faces: Faces per frame; 0 for the locator alone.
    """

    def __init__(self, locator: FaceLocator, judge: Judge, frames: Sequence[np.ndarray], faces: int) -> None:
        self._locator, self._judge = locator, judge
        self._frames, self._faces = itertools.cycle(frames), faces

    def __call__(self) -> list[Verdict]:
        """Return the verdicts on the next frame."""
        image = next(self._frames)
        boxes = [place.box for place in self._locator.locate(image)]
        if not self._faces:
            return []
        if not boxes:
            square = whole_square(image.shape[1], image.shape[0])
            boxes = [(float(square.x), float(square.y), float(square.side), float(square.side))]
        return self._judge([(image, box) for box in itertools.islice(itertools.cycle(boxes), self._faces)])


def open_locator(bundle: Bundle, threads: int, precision: str = "fp32") -> Locator:
    """Open the bundle's locator as a scan with so many threads, and a classifier in this precision, does.

    Raises:
        BundleError: ONNX Runtime can't run it.
    """
    data = locator_beside(bundle, precision)
    return Locator.from_spec(data, bundle.manifest.locator, threads=min(threads, LOCATOR_THREADS))
