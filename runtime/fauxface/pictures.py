"""Pictures in their order: files are read ahead in threads, arrays are worked on at once."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np

from fauxface import images
from fauxface.crew import Crew, Task
from fauxface.cutting import is_picture
from fauxface.errors import ImageError

T = TypeVar("T")

Picture = str | os.PathLike[str] | np.ndarray
"""A file, or an upright RGB uint8 [H, W, 3] array."""

ARRAY_SOURCE = "<array>"
_AHEAD = 2
_PIXELS = 2 * images.DEFAULT_MAX_PIXELS


def name_of(picture: Picture) -> str:
    """Return what a result names as its source.

    Raises:
        TypeError: It is neither a path nor an array.
    """
    if isinstance(picture, np.ndarray):
        return ARRAY_SOURCE
    if not isinstance(picture, str | os.PathLike):
        raise TypeError(
            f"a picture is a path or an array, not {type(picture).__name__}; fauxface.images.decode makes an "
            "array of a file's bytes, numpy.asarray one of an RGB picture of Pillow's"
        )
    return os.fspath(picture)


def load(picture: Picture, take_room: Callable[[int], None] | None = None) -> np.ndarray:
    """Return a picture's pixels.

    Args:
        picture: The picture.
        take_room: As in `images.read`.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ImageError: The file can't be read, or the array has another type or shape.
        TypeError: It is neither a path nor an array.
    """
    if not isinstance(picture, np.ndarray):
        return images.read(picture, take_room=take_room)
    if not is_picture(picture):
        raise ImageError(
            f"an array must be RGB uint8 [H, W, 3] with pixels, not {picture.dtype} {list(picture.shape)}"
        )
    return picture


class Room:
    """So many pixels that threads decode at once; a larger picture has all of it for itself.

    Args:
        pixels: How many.
    """

    def __init__(self, pixels: int = _PIXELS) -> None:
        self._pixels = self._free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def for_one(self) -> Iterator[Callable[[int], None]]:
        """Give a function that waits for a picture's pixels and takes them until the block ends.

        Asked again, it takes no more than what is missing.
        """
        taken = 0

        def take(pixels: int) -> None:
            nonlocal taken
            with self._changed:
                wanted = max(0, min(pixels, self._pixels) - taken)
                self._changed.wait_for(lambda: self._free >= wanted)
                self._free -= wanted
                taken += wanted

        try:
            yield take
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


def in_order(
    pictures: Iterable[Picture],
    at_once: Callable[[Picture], T],
    ahead: Callable[[Picture], T],
    workers: int,
    pixels: Callable[[T], int] | None = None,
) -> Generator[T, None, None]:
    """Work on pictures and hand out what was made of them, in their order.

    The pictures are taken in the caller's thread, at most twice as many ahead as there are workers. An error
    of theirs, or of the work, is raised behind what was taken before it. Closing the generator waits until
    each worker is done with its picture.

    Args:
        pictures: Files or arrays. An array may be used again once the next picture is taken, a file stays as
            it is until its result is handed out.
        at_once: Works on an array in the caller's thread; with fewer than two workers on files, too.
        ahead: Works on a file, in several threads.
        workers: How many threads.
        pixels: How many pixels something holds in memory, where it holds some. As many are taken ahead as
            would hold no more than two pictures of the largest size, if all were as large as the largest so
            far; one until the first is there.
    """
    largest = 0 if pixels is None else None
    waiting: deque[Task[T]] = deque()
    failure: Exception | None = None
    source = iter(pictures)
    crew = Crew(workers, "fauxface-pictures") if workers > 1 else None
    try:
        while failure is None:
            try:
                picture = next(source)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            if crew is None or isinstance(picture, np.ndarray):
                waiting.append(Task(partial(at_once, picture)))
                waiting[-1].run()
            else:
                waiting.append(crew.submit(partial(ahead, picture)))
            del picture
            while waiting:
                sizes = [pixels(made) for task in waiting for made in task.made] if pixels is not None else []
                largest = max(largest or 0, *sizes) if sizes else largest
                most = 1 if largest is None else _AHEAD * workers
                if not waiting[0].done and len(waiting) <= most and (largest or 0) * len(waiting) <= _PIXELS:
                    break
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        if crew is not None:
            crew.close()
    if failure is not None:
        raise failure
