"""Scanning: pictures and frames in, verdicts out."""

import hashlib
import os
import queue
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np

from fauxface.bundle import Bundle
from fauxface.cutting import HELD_PIXELS, Core, Find, Groups, Item, cut, cut_frame, no_budget, with_error
from fauxface.errors import ImageError, NoFaceError
from fauxface.finding import Finder, open_locator
from fauxface.following import check_every
from fauxface.locator import FaceLocator, Location
from fauxface.memory import told_alike
from fauxface.pictures import Picture, Room, in_order, load, name_of
from fauxface.pipeline import Pipeline, decoding_threads, newest
from fauxface.precision import open_classifier
from fauxface.results import Face, ItemError, Result
from fauxface.session import Classifier
from fauxface.sources import Kind, Source, parse
from fauxface.video import Frame, FrameReader

Scanned = tuple[Result, np.ndarray | None]
"""A result and the upright RGB uint8 [H, W, 3] picture it is about, None where it couldn't be read."""

_BATCH, _CPU_BATCH = 32, 8
_WORKERS = 8
_SEARCHED_PIXELS = 16_000_000
"""Most pixels of all the copies that threads search at once: a search needs some 40 bytes for each."""
_CPU_PROVIDERS = ("cpu", "openvino")


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
        max_side: Longest side in pixels, 32 to 8192, of the copy that is searched for faces; by the bundle's
            rule when not given. A larger copy shows smaller faces, in time that grows with its area. It isn't
            for locators that are objects.

    Attributes:
        model: The sha256 that stands in every result.
        provider: Short name of the execution provider that is really in use.
        threads: Threads of one inference, and the cores that a pipelined video and files read ahead share.
        precision: What the classifier in use computes in: "fp32", "fp16" or "int8".
        passed_over: Why providers that "auto" prefers weren't taken, one line each.
        batch: Most faces per inference where a method isn't told: 8 on the CPU, where larger batches need
            more memory and are no faster, else 32.

    Raises:
        BundleError: The bundle or the locator can't be used, or the bundle lacks the precision asked for.
        ProviderError: The provider or the precision is unknown, the provider isn't really in use, `threads`
            is out of range, or ONNX Runtime is missing.
        ValueError: `faces` is neither "locate" nor "whole", `max_side` is out of range, or they don't fit
            each other or the locator.
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
        max_side: int | None = None,
    ) -> None:
        if faces not in ("locate", "whole"):
            raise ValueError(f'faces must be "locate" or "whole", not {faces!r}')
        if max_side is not None and not 32 <= max_side <= 8192:
            raise ValueError(f"max_side must lie in 32 to 8192, not {max_side}")
        if faces == "whole" and (locator is not None or max_side is not None):
            raise ValueError('faces="whole" searches no faces; leave locator and max_side out')
        if max_side is not None and not isinstance(locator, str | os.PathLike | None):
            raise ValueError("max_side is for locators that are files; give it to the object itself")
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        self.model = self.bundle.sha256
        self.faces = faces
        self._classifier, self.precision = open_classifier(
            self.bundle, provider=provider, threads=threads, precision=precision
        )
        self.provider = self._classifier.provider
        self.threads = self._classifier.threads
        self.passed_over = self._classifier.passed_over
        self._sharing: Classifier | None = None
        self._point = self.bundle.manifest.operating_point(self.precision)
        self.batch = _CPU_BATCH if self.provider in _CPU_PROVIDERS else _BATCH
        self._find: Finder | None = None
        self._workers = min(self.threads, _WORKERS)
        if faces == "locate":
            opened, changes = open_locator(self.bundle, self.precision, locator, max_side, self.threads)
            self._find = Finder(opened)
            side = self.bundle.manifest.locator.max_side if max_side is None else max_side
            self._workers = max(1, min(self._workers, _SEARCHED_PIXELS // side**2))
            if changes:
                self.model = hashlib.sha256((self.model + changes).encode()).hexdigest()

    def image(self, picture: Picture, source: str | None = None, *, bgr: bool = False) -> Result:
        """Judge every face of one picture.

        Args:
            picture: A path, or an upright uint8 [H, W, 3] array: RGB, unless `bgr` says otherwise.
            source: What the result names as its source; the path, or "<array>", when not given.
            bgr: An array's channels are in OpenCV's order, as `cv2.VideoCapture` gives them.

        Returns:
            The result. Where no face was found, it has no faces and a NoFaceError as `error`.

        Raises:
            ImageError: The picture can't be read, or the array has another type or shape.
            TypeError: `picture` is neither a path nor an array.
        """
        order: Literal["RGB", "BGR"] = "BGR" if bgr and isinstance(picture, np.ndarray) else "RGB"
        name = name_of(picture)
        item = self._located(source or name, load(picture), self._find, order)
        return next(self._judged(iter([item]), self.batch, 1))[0]

    def images(self, pictures: Iterable[Picture], batch: int | None = None) -> Iterator[Result]:
        """Judge many pictures; faces of several pictures share one inference.

        Files are read and searched ahead, in as many threads as the scanner has, at most 8: each must stay as
        it is until its result comes.

        Args:
            pictures: Paths or upright RGB uint8 [H, W, 3] arrays; taken lazily, in the caller's thread.
            batch: Most faces per inference, and most pictures that are held back for one; `batch` of the
                scanner when not given. With 1, each result comes before the next picture is taken.

        Yields:
            One result per picture, in order. What can't be read is recorded as its `error`.

        Raises:
            TypeError: `pictures` is a single one, or one of them is neither a path nor an array.
            ValueError: `batch` is below 1.
        """
        if isinstance(pictures, str | os.PathLike) or (
            isinstance(pictures, np.ndarray) and pictures.shape[2:] == (3,)
        ):
            raise TypeError("images takes several pictures; give a list, or one picture to image()")
        with closing(self.scan_pictures(pictures, batch, keep=False)) as scanned:
            for result, _ in scanned:
                yield result

    def video(
        self, source: str | os.PathLike[str] | Source, every: int = 1, *, locate_every: int = 1
    ) -> Iterator[Result]:
        """Judge the frames of a video file, camera or stream.

        Decoding, locating and classifying a file overlap. Of a camera or a live stream, each judged frame is
        the newest one: frames that arrive while another one is judged are dropped.

        Args:
            source: A path, "camera:0", a URL or a GStreamer pipeline.
            every: Judge every N-th frame, from frame 0.
            locate_every: Search every N-th judged frame, and at least one per second, for faces as a whole;
                in between only around the last boxes (`fauxface.following`). 1 loses nothing.

        Yields:
            One result per judged frame, in order; of a file as batches fill up, of anything else at once.
            Where a video breaks off, a last result with `frame` None has the VideoError.

        Raises:
            SourceError: The source names nothing that can be scanned.
            VideoError: The video can't be opened or has no frame.
            ValueError: `every` or `locate_every` is below 1.
        """
        place = source if isinstance(source, Source) else parse(os.fspath(source))
        live = place.kind is not Kind.VIDEO
        with (
            self.open_frames(place, every) as (_, frames),
            closing(
                self.scan_frames(frames, place.shown, live=live, pictures=False, locate_every=locate_every)
            ) as scanned,
        ):
            for result, _ in scanned:
                yield result

    @contextmanager
    def open_frames(self, source: Source, every: int = 1) -> Iterator[tuple[FrameReader, Iterator[Frame]]]:
        """Open a video for `scan_frames`.

        A file is decoded on so many threads as leave cores to the scan; of a camera or a live stream, the
        frames are the newest ones.

        Yields:
            The reader and its frames.

        Raises:
            VideoError: The video can't be opened.
            ValueError: `every` is below 1.
        """
        with FrameReader(source, every=every, threads=decoding_threads(self.threads)) as reader:
            if not source.is_live:
                yield reader, iter(reader)
                return
            with closing(newest(reader)) as frames:
                yield reader, frames

    def scan_pictures(
        self, pictures: Iterable[Picture], batch: int | None = None, *, keep: bool = True
    ) -> Generator[Scanned, None, None]:
        """Do what `images` does, and hand out each picture with its result, unless it isn't kept."""
        batch = self.batch if batch is None else batch
        workers = 1 if batch == 1 else self._workers
        at_once = partial(self._read, find=self._find, keep=keep)
        ahead = self._reader(workers, keep=keep)
        pixels: Callable[[Item], int] | None = (lambda item: item.cost) if keep else None
        with closing(in_order(pictures, at_once, ahead, workers, pixels)) as items:
            yield from self._judged(items, batch, batch)

    def scan_frames(
        self,
        frames: Iterable[Frame],
        source: str,
        *,
        live: bool = False,
        batch: int | None = None,
        pictures: bool = True,
        locate_every: int = 1,
        overlap: bool = True,
    ) -> Generator[Scanned, None, None]:
        """Do what `video` does with any frames, and hand out each frame's picture with its result.

        Args:
            frames: Frames in order, each in an array of its own: several are in work at once.
            source: What the results name as their source.
            live: Hand out each frame's result before the next frame is taken.
            batch: Most faces per inference, and most frames that are held back for one; `batch` of the
                scanner when not given.
            pictures: Hand out the pictures; without them, fewer frames are held in memory.
            locate_every: As in `video`.
            overlap: Work on several frames at once, in threads of their own, unless `live` or on a single
                thread. The results are the same; close the generator before `frames`.

        Raises:
            VideoError: There is no frame.
            ValueError: `batch` or `locate_every` is below 1, or a frame isn't uint8 [H, W, 3].
        """
        check_every(locate_every)
        batch = self.batch if batch is None else batch
        met = with_error(frames, source)
        if live or not overlap or self.threads == 1:
            (work,) = self._cutters(source, locate_every, pictures, 1, no_budget)
            yield from self._judged(map(work, met), batch, 1 if live else batch)
            return
        with Pipeline(self.threads) as pipeline:
            workers = self._workers
            taken = pipeline.metered(met, decoding_threads(self.threads))
            cutters = self._cutters(source, locate_every, pictures, workers, pipeline.core)
            if len(cutters) == 1:
                taken, cutters = map(cutters[0], taken), [lambda item: item] * workers
            judge = self._judge(batch, pipeline.core)
            # Whatever the number of threads, about as many pictures are held in all.
            groups = Groups(batch, batch, HELD_PIXELS // workers)
            for group in pipeline.flow(taken, cutters, groups, judge):
                # Drawing and encoding a picture is work as well.
                for scanned in group:
                    with pipeline.core(1) if pictures else nullcontext():
                        yield scanned

    def _cutters(
        self, source: str, locate_every: int, pictures: bool, workers: int, core: Core
    ) -> list[Callable[[Frame | Item], Item]]:
        """Return functions that find and cut a frame's faces, for one thread each.

        Only our own locator can be used in several threads; following faces takes one frame after the other.
        """
        finders: list[Find | None] = [None] * workers
        if self._find is not None and locate_every > 1:
            finders = [self._find.following(locate_every, workers)]
        elif self._find is not None:
            finders = [*self._find.side_by_side(workers)]
        margin = self.bundle.manifest.crop.margin

        def cutter(find: Find | None) -> Callable[[Frame | Item], Item]:
            def work(frame: Frame | Item) -> Item:
                if isinstance(frame, Item):
                    return frame
                with core(1):
                    return cut_frame(source, frame, find, margin, picture=pictures)

            return work

        return [cutter(find) for find in finders]

    def sharing_classifier(self) -> Classifier:
        """Return the classifier that several threads of a pipelined video run at once.

        On the CPU, inferences side by side on few threads each do more than one after the other on all.
        """
        if self.provider != "cpu":
            return self._classifier
        if self._sharing is None:
            threads = max(1, self.threads // _WORKERS)
            self._sharing, _ = open_classifier(
                self.bundle, provider=self.provider, threads=threads, precision=self.precision
            )
        return self._sharing

    def _judge(self, batch: int, core: Core) -> Callable[[list[Item]], list[Scanned]]:
        """Return a function that judges a group of items, for several threads."""
        classifier = self.sharing_classifier()
        cores = classifier.threads if self.provider in _CPU_PROVIDERS else 1

        def judge(items: list[Item]) -> list[Scanned]:
            logits = _logits(classifier, items, batch, partial(core, cores))
            with core(1):
                return list(self._verdicts(items, logits))

        return judge

    def _reader(self, workers: int, *, keep: bool) -> Callable[[Picture], Item]:
        """Return a function that reads a file and cuts its faces, for so many threads."""
        room, finders = Room(), queue.SimpleQueue[Find | None]()
        own = [None] if self._find is None else self._find.side_by_side(workers)
        for find in own * (workers // len(own)):
            finders.put(find)

        def read(picture: Picture) -> Item:
            find = finders.get()
            try:
                with room.for_one() as take_room:
                    return self._read(picture, find, take_room, keep=keep)
            finally:
                finders.put(find)

        return read

    def _read(
        self,
        picture: Picture,
        find: Find | None,
        take_room: Callable[[int], None] | None = None,
        *,
        keep: bool,
    ) -> Item:
        try:
            item = self._located(name_of(picture), load(picture, take_room), find)
            item.picture = item.picture if keep else None
            return item
        except ImageError as error:
            return Item(name_of(picture), error=ItemError.of(error))

    def _located(
        self, source: str, image: np.ndarray, find: Find | None, order: Literal["RGB", "BGR"] = "RGB"
    ) -> Item:
        """Find the faces of a picture and cut them out.

        Raises:
            ImageError: A copy of the picture, or a square around a face, is too large for the memory.
        """
        frame = Frame(0, 0.0, image, order)
        try:
            with told_alike():
                places = None if find is None else find(frame)
                item = cut(source, frame, places, self.bundle.manifest.crop.margin)
        except MemoryError:
            raise ImageError(f"{source}: its faces don't fit the memory; scale the picture") from None
        if not item.places:
            item.error = ItemError.of(
                NoFaceError('no face was found; ready crops need --faces whole, in Python faces="whole"')
            )
        return item

    def _judged(self, items: Iterator[Item], batch: int, hold: int) -> Iterator[Scanned]:
        """Judge items in order, a group at a time."""
        groups = Groups(batch, hold)
        taken = chain(map(groups.add, items), iter(groups.rest, []))
        failure: Exception | None = None
        while True:
            try:
                group = next(taken, None)
            except Exception as error:  # what was taken before it is judged all the same
                failure, taken = error, iter(groups.rest, [])
                continue
            if group is None:
                break
            yield from self._verdicts(group, _logits(self._classifier, group, batch, nullcontext))
        if failure is not None:
            raise failure

    def _verdicts(self, items: list[Item], values: np.ndarray) -> Iterator[Scanned]:
        probabilities = iter(self._point.calibration.probability(values).tolist())
        for item in items:
            picture, item.picture = item.picture, None  # so that it is freed with the result
            faces = tuple(
                self._face(place, crop, next(probabilities))
                for place, crop in zip(item.places, item.crops, strict=True)
            )
            yield (
                Result(item.source, item.frame, item.time_s, item.error, faces, self.model),
                None if picture is None else picture.image,
            )

    def _face(self, place: Location, crop: np.ndarray, p_generated: float) -> Face:
        manifest = self.bundle.manifest
        size = int(max(place.box[2:]))
        failure = manifest.gates.failure(crop, place.landmarks)
        label, reason = self._point.thresholds.verdict(p_generated, size, manifest.crop.min_face_px, failure)
        score = None if self.faces == "whole" else place.score
        return Face(place.box, place.landmarks, score, p_generated, label, reason, size)


def _logits(
    classifier: Classifier,
    items: list[Item],
    batch: int,
    cores: Callable[[], AbstractContextManager[None]],
) -> np.ndarray:
    """Return the logits of all crops of some items, float32 [N, 2]; each inference holds cores."""
    crops = [crop for item in items for crop in item.crops]
    parts = [np.zeros((0, 2), np.float32)]
    for start in range(0, len(crops), batch):
        with cores():
            parts.append(classifier.logits(np.stack(crops[start : start + batch])))
    return np.concatenate(parts)
