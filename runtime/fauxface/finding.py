"""A scanner's locator: opened with what was asked for, and shared out to threads."""

import hashlib
import os
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

from fauxface.bundle import Bundle
from fauxface.cutting import Find
from fauxface.errors import BundleError
from fauxface.following import Follower, locate_frame
from fauxface.locator import FaceLocator, Location, Locator, OneAtATime
from fauxface.precision import locator_beside
from fauxface.video import Frame

LOCATOR_THREADS = 4


def open_locator(
    bundle: Bundle,
    precision: str,
    locator: FaceLocator | str | os.PathLike[str] | None,
    max_side: int | None,
    threads: int,
) -> tuple[FaceLocator, str]:
    """Open a locator.

    Args:
        bundle: A verified bundle.
        precision: What its classifier computes in.
        locator: A YuNet-format file or an object in place of the bundle's.
        max_side: Longest side in pixels of the searched copy, by the bundle's rule when None.
        threads: Cores that one search may use.

    Returns:
        The locator, and what tells it apart from the bundle's own, empty where nothing does.

    Raises:
        BundleError: The file can't be read or isn't a locator.
    """
    spec = bundle.manifest.locator
    if locator is not None and not isinstance(locator, str | os.PathLike):
        return OneAtATime(locator), ""
    data = own = locator_beside(bundle, precision)
    changes = ""
    if locator is not None:
        try:
            data = Path(locator).read_bytes()
        except OSError as error:
            raise BundleError(
                f"can't read the locator {locator}: {error.strerror}; give a YuNet-format .onnx file"
            ) from error
        if data != own:
            changes += hashlib.sha256(data).hexdigest()
    if max_side is not None:
        spec = replace(spec, max_side=max_side, min_scale=None)
    if spec != bundle.manifest.locator:
        changes += f" max_side {max_side}"
    return Locator.from_spec(data, spec, threads=min(threads, LOCATOR_THREADS)), changes


class Finder:
    """Finds the faces of frames, in one thread or several.

    Args:
        locator: The locator.
    """

    def __init__(self, locator: FaceLocator) -> None:
        self._locator, self._one_at_a_time = locator, threading.Lock()

    def __call__(self, frame: Frame) -> list[Location]:
        """Find the faces of a frame; one thread after the other."""
        with self._one_at_a_time:
            return locate_frame(self._locator, frame)

    def side_by_side(self, workers: int) -> list[Find]:
        """Return what finds faces in each of several threads; a single one where that isn't our own locator.

        Others are called in one thread after the other, in the order of the frames.
        """
        locator = self._for(workers)
        if not isinstance(locator, Locator):
            return [self]
        return [partial(locate_frame, locator.shared()) for _ in range(workers)]

    def following(self, every: int, workers: int) -> Find:
        """Return what follows the faces of one video, beside so many threads' other work; see `Follower`."""
        return Follower(self._for(workers), every).locate

    def _for(self, workers: int) -> FaceLocator:
        # Several frames are searched at once instead of one on several threads.
        if isinstance(self._locator, Locator) and workers > 1:
            return self._locator.reopened(threads=1)
        return self._locator
