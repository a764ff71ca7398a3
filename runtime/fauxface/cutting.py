"""Between locator and classifier: pictures and frames with the faces that were cut out of them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import cv2
import numpy as np

from fauxface.crops import Box, extract, face_square, to_input, whole_square
from fauxface.errors import VideoError
from fauxface.locator import Location
from fauxface.results import ItemError
from fauxface.video import Frame

HELD_PIXELS = 8_000_000
"""Most pixels of pictures that are held back for one inference."""

Find = Callable[[Frame], list[Location]]
"""Finds the faces of a frame."""

Core = Callable[[int], AbstractContextManager[None]]
"""Holds so many cores while a block runs, as `fauxface.pipeline.Pipeline.core` does."""


def no_budget(_: int) -> AbstractContextManager[None]:
    """Hold nothing: for work that runs one after the other."""
    return nullcontext()


@dataclass(slots=True)
class Item:
    """A picture or frame on its way to the classifier.

    Attributes:
        source: What the result names as its source.
        picture: The picture, None where it couldn't be read or isn't needed any more.
        frame: Index of the frame, None for a picture.
        time_s: Position in the video in seconds, None for a picture.
        error: Why there is no verdict.
        places: Where the faces are.
        crops: The faces, uint8 [128, 128, 3] RGB each.
    """

    source: str
    picture: Frame | None = None
    frame: int | None = None
    time_s: float | None = None
    error: ItemError | None = None
    places: list[Location] = field(default_factory=list)
    crops: list[np.ndarray] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """Pixels that it holds in memory, besides its crops."""
        return 0 if self.picture is None else self.picture.pixels.shape[0] * self.picture.pixels.shape[1]


def is_picture(pixels: np.ndarray) -> bool:
    """Tell whether an array is a picture with pixels, uint8 [H, W, 3]."""
    return pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and 0 not in pixels.shape


def cut(source: str, picture: Frame, places: list[Location] | None, margin: float) -> Item:
    """Cut faces out of a full-resolution picture.

    Only the crops are converted to RGB, not the picture.

    Args:
        source: What the result names as its source.
        picture: The picture.
        places: Where the faces are; None cuts the largest central square instead.
        margin: Side of the crop over the longer side of the face box.
    """
    pixels = picture.pixels
    if places is None:
        square = whole_square(pixels.shape[1], pixels.shape[0])
        box: Box = (square.x, square.y, square.side, square.side)
        places, squares = [Location(box, (), float("nan"))], [square]
    else:
        squares = [face_square(place.box, margin) for place in places]
    crops = [to_input(extract(pixels, square)) for square in squares]
    if picture.order == "BGR":
        crops = [cv2.cvtColor(crop, cv2.COLOR_BGR2RGB) for crop in crops]
    return Item(source, picture, places=places, crops=crops)


def cut_frame(source: str, frame: Frame, find: Find | None, margin: float, *, picture: bool) -> Item:
    """Find and cut the faces of a video's frame.

    Args:
        source: What the result names as its source.
        frame: The frame.
        find: Finds its faces; None cuts the largest central square instead.
        margin: Side of the crop over the longer side of the face box.
        picture: Keep the frame in the item.

    Raises:
        ValueError: The frame isn't uint8 [H, W, 3].
    """
    if not is_picture(frame.pixels):
        raise ValueError(
            f"a frame must be uint8 [H, W, 3], not {frame.pixels.dtype} {list(frame.pixels.shape)}"
        )
    item = cut(source, frame, None if find is None else find(frame), margin)
    item.frame, item.time_s = frame.index, frame.time_s
    if not picture:
        item.picture = None
    return item


class Groups:
    """Gathers items, which come in order, for the classifier.

    Args:
        batch: Faces that complete a group.
        hold: Items that complete a group.
        pixels: Pixels of their pictures that complete a group.

    Raises:
        ValueError: `batch` is below 1.
    """

    def __init__(self, batch: int, hold: int, pixels: int | None = None) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, not {batch}")
        self._batch, self._hold = batch, hold
        self._most_pixels = HELD_PIXELS if pixels is None else pixels
        self._held: list[Item] = []
        self._crops = self._pixels = 0

    def add(self, item: Item) -> list[Item]:
        """Add an item; return the group that it completes, empty where it doesn't."""
        self._held.append(item)
        self._crops += len(item.crops)
        self._pixels += item.cost
        full = (
            self._crops >= self._batch or len(self._held) >= self._hold or self._pixels >= self._most_pixels
        )
        return self.rest() if full else []

    def rest(self) -> list[Item]:
        """Return what is gathered and not yet a group."""
        held, self._held, self._crops, self._pixels = self._held, [], 0, 0
        return held


def with_error(frames: Iterable[Frame], source: str) -> Iterator[Frame | Item]:
    """Pass a video's frames on; where it breaks off, a last item holds the error.

    Raises:
        VideoError: There is no frame.
    """
    judged = False
    try:
        for frame in frames:
            judged = True
            yield frame
    except VideoError as error:
        if not judged:
            raise
        yield Item(source, error=ItemError.of(error))
    else:
        if not judged:
            raise VideoError(f"{source} has no frame; check that it plays")
