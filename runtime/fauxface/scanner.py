"""Scanning: pictures and frames in, verdicts out."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from fauxface import images
from fauxface.bundle import Bundle
from fauxface.crops import Box, extract, face_square, to_input, whole_square
from fauxface.errors import BundleError, ImageError, NoFaceError, VideoError
from fauxface.locator import FaceLocator, Location, Locator
from fauxface.precision import open_classifier
from fauxface.results import Face, ItemError, Result
from fauxface.sources import Kind, Source, parse
from fauxface.video import Frame, FrameReader

Picture = str | os.PathLike[str] | np.ndarray
Scanned = tuple[Result, np.ndarray | None]
"""A result and the upright RGB uint8 [H, W, 3] picture it is about, None where it couldn't be read."""

ARRAY_SOURCE = "<array>"
BATCH = 32
_HELD_PIXELS = 64_000_000


class Scanner:
    """Finds faces and tells camera faces from generated ones. Not thread-safe: use one per thread.

    Args:
        bundle: A loaded bundle or its folder; the packaged default bundle when not given.
        provider: "auto", "cpu", "cuda", "tensorrt" or "openvino".
        threads: Threads of one inference; what affinity and cgroup quota allow when not given.
        locator: A YuNet-format file, or any object with `FaceLocator.locate`, in place of the bundle's.
        faces: "locate" finds the faces; "whole" judges the largest central square of each picture, for data
            sets of ready crops.
        precision: "fp32", "fp16" or "int8", if the bundle has it; "auto" takes int8 on CPUs that have
            instructions for it, fp16 on CUDA and TensorRT, else fp32.

    Attributes:
        model: The sha256 that stands in every result.
        provider: Short name of the execution provider that is really in use.
        precision: What the classifier in use computes in: "fp32", "fp16" or "int8".

    Raises:
        BundleError: The bundle or the locator can't be used, or the bundle lacks the precision asked for.
        ProviderError: The provider or the precision is unknown, the provider isn't really in use, or ONNX
            Runtime is missing.
        ValueError: `faces` is neither "locate" nor "whole".
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str] | None = None,
        *,
        provider: str = "auto",
        threads: int | None = None,
        locator: FaceLocator | str | os.PathLike[str] | None = None,
        faces: Literal["locate", "whole"] = "locate",
        precision: str = "auto",
    ) -> None:
        if faces not in ("locate", "whole"):
            raise ValueError(f'faces must be "locate" or "whole", not {faces!r}')
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        self.model = self.bundle.sha256
        self.faces = faces
        self._locator = self._open_locator(locator) if faces == "locate" else None
        self._classifier, self.precision = open_classifier(
            self.bundle, provider=provider, threads=threads, precision=precision
        )
        self.provider = self._classifier.provider
        self._point = self.bundle.manifest.operating_point(self.precision)

    def image(self, picture: Picture, source: str | None = None) -> Result:
        """Judge every face of one picture.

        Args:
            picture: A path, or an upright RGB uint8 [H, W, 3] array.
            source: What the result names as its source; the path, or "<array>", when not given.

        Returns:
            The result. Where no face was found, it has no faces and a NoFaceError as `error`.

        Raises:
            ImageError: The picture can't be read, or the array has another type or shape.
        """
        image = _load(picture)
        item = self._located(source or _name(picture), image)
        return next(self._judged(iter([item]), BATCH, 1))[0]

    def images(self, pictures: Iterable[Picture], batch: int = BATCH) -> Iterator[Result]:
        """Judge many pictures; faces of several pictures share one inference.

        Args:
            pictures: Paths or upright RGB uint8 [H, W, 3] arrays; taken lazily.
            batch: Most faces per inference, and most pictures that are held back for one.

        Yields:
            One result per picture, in order. What can't be read is recorded as its `error`.
        """
        for result, _ in self.scan_pictures(pictures, batch):
            yield result

    def video(self, source: str | os.PathLike[str] | Source, every: int = 1) -> Iterator[Result]:
        """Judge the frames of a video file, camera or stream.

        Args:
            source: A path, "camera:0", a URL or a GStreamer pipeline.
            every: Judge every N-th frame, from frame 0.

        Yields:
            One result per judged frame, in order; of a file as batches fill up, of anything else at once.
            Where a video breaks off, a last result with `frame` None has the VideoError.

        Raises:
            SourceError: The source names nothing that can be scanned.
            VideoError: The video can't be opened or has no frame.
            ValueError: `every` is below 1.
        """
        place = source if isinstance(source, Source) else parse(os.fspath(source))
        with FrameReader(place, every=every) as reader:
            for result, _ in self.scan_frames(reader, place.shown, live=place.kind is not Kind.VIDEO):
                yield result

    def scan_pictures(self, pictures: Iterable[Picture], batch: int = BATCH) -> Iterator[Scanned]:
        """Do what `images` does, and hand out each picture with its result."""
        return self._judged(map(self._read, pictures), batch, batch)

    def scan_frames(
        self, frames: Iterable[Frame], source: str, *, live: bool = False, batch: int = BATCH
    ) -> Iterator[Scanned]:
        """Do what `video` does with any frames, and hand out each frame's picture with its result.

        Args:
            frames: Frames in order.
            source: What the results name as their source.
            live: Hand out each frame's result before the next frame is taken.
            batch: Most faces per inference, and most frames that are held back for one.

        Raises:
            VideoError: There is no frame.
        """
        return self._judged(self._located_frames(frames, source), batch, 1 if live else batch)

    def _open_locator(self, locator: FaceLocator | str | os.PathLike[str] | None) -> FaceLocator:
        spec = self.bundle.manifest.locator
        if locator is not None and not isinstance(locator, str | os.PathLike):
            return locator
        data = self.bundle.locator_bytes()
        if locator is not None:
            try:
                data = Path(locator).read_bytes()
            except OSError as error:
                raise BundleError(
                    f"can't read the locator {locator}: {error.strerror}; give a YuNet-format .onnx file"
                ) from error
            if data != self.bundle.locator_bytes():
                both = self.model + hashlib.sha256(data).hexdigest()
                self.model = hashlib.sha256(both.encode()).hexdigest()
        return Locator(data, spec.score_threshold, spec.nms_threshold, spec.max_side)

    def _read(self, picture: Picture) -> "_Item":
        try:
            return self._located(_name(picture), _load(picture))
        except ImageError as error:
            return _Item(_name(picture), error=ItemError.of(error))

    def _located_frames(self, frames: Iterable[Frame], source: str) -> Iterator["_Item"]:
        judged = False
        try:
            for frame in frames:
                judged = True
                yield self._located(source, frame.image, frame)
        except VideoError as error:
            if not judged:
                raise
            yield _Item(source, error=ItemError.of(error))
        else:
            if not judged:
                raise VideoError(f"{source} has no frame; check that it plays")

    def _located(self, source: str, image: np.ndarray, frame: Frame | None = None) -> "_Item":
        """Find the faces and cut them out of the full-resolution picture."""
        height, width = image.shape[:2]
        item = _Item(source, image)
        if frame is not None:
            item.frame, item.time_s = frame.index, frame.time_s
        if self._locator is None:
            square = whole_square(width, height)
            box: Box = (square.x, square.y, square.side, square.side)
            item.places.append(Location(box, (), float("nan")))
            item.crops.append(to_input(extract(image, square)))
            return item
        item.places = self._locator.locate(image)
        margin = self.bundle.manifest.crop.margin
        item.crops = [to_input(extract(image, face_square(place.box, margin))) for place in item.places]
        if not item.places and frame is None:
            item.error = ItemError.of(
                NoFaceError("no face was found in the picture; ready crops of faces need faces=whole")
            )
        return item

    def _judged(self, items: Iterator["_Item"], batch: int, hold: int) -> Iterator[Scanned]:
        """Judge items in order, as soon as `batch` faces, `hold` items or too many pixels have gathered."""
        if batch < 1:
            raise ValueError(f"batch must be at least 1, not {batch}")
        held: list[_Item] = []
        crops = pixels = 0
        for item in items:
            held.append(item)
            crops += len(item.crops)
            pixels += 0 if item.image is None else item.image.shape[0] * item.image.shape[1]
            if crops >= batch or len(held) >= hold or pixels >= _HELD_PIXELS:
                yield from self._verdicts(held, batch)
                held, crops, pixels = [], 0, 0
        yield from self._verdicts(held, batch)

    def _verdicts(self, items: list["_Item"], batch: int) -> Iterator[Scanned]:
        crops = [crop for item in items for crop in item.crops]
        parts = [crops[i : i + batch] for i in range(0, len(crops), batch)]
        logits = [self._classifier.logits(np.stack(part)) for part in parts]
        values = np.concatenate(logits) if logits else np.zeros((0, 2), np.float32)
        probabilities = iter(self._point.calibration.probability(values).tolist())
        for item in items:
            faces = tuple(self._face(place, next(probabilities)) for place in item.places)
            yield (
                Result(item.source, item.frame, item.time_s, item.error, faces, self.model),
                item.image,
            )

    def _face(self, place: Location, p_generated: float) -> Face:
        manifest = self.bundle.manifest
        size = int(max(place.box[2:]))
        label, reason = self._point.thresholds.verdict(p_generated, size, manifest.crop.min_face_px)
        score = None if self.faces == "whole" else place.score
        return Face(place.box, place.landmarks, score, p_generated, label, reason, size)


@dataclass(slots=True)
class _Item:
    """A picture or frame between locator and classifier."""

    source: str
    image: np.ndarray | None = None
    frame: int | None = None
    time_s: float | None = None
    error: ItemError | None = None
    places: list[Location] = field(default_factory=list)
    crops: list[np.ndarray] = field(default_factory=list)


def _name(picture: Picture) -> str:
    return ARRAY_SOURCE if isinstance(picture, np.ndarray) else os.fspath(picture)


def _load(picture: Picture) -> np.ndarray:
    if not isinstance(picture, np.ndarray):
        return images.read(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ImageError(
            f"an array must be RGB uint8 [H, W, 3] with pixels, not {picture.dtype} {list(picture.shape)}"
        )
    return picture
