"""A shortage of memory, for which numpy, OpenCV and ONNX Runtime each raise an error of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from fauxface.errors import FauxfaceError

_OF_ONNX_RUNTIME = ("Failed to allocate memory", "bad_alloc", "bad allocation")


def is_shortage(error: BaseException) -> bool:
    """Tell whether an error says that memory on the host couldn't be had."""
    if isinstance(error, FauxfaceError):
        return False  # it says already what to do
    if isinstance(error, cv2.error):
        return getattr(error, "code", None) == cv2.Error.StsNoMem
    return isinstance(error, MemoryError) or any(words in str(error) for words in _OF_ONNX_RUNTIME)


@contextmanager
def told_alike() -> Iterator[None]:
    """Let every shortage of memory in the block be a MemoryError; other errors pass as they are.

    Raises:
        MemoryError: There wasn't enough memory.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if not is_shortage(error):
            raise
        raise MemoryError(" ".join(str(error).split())) from None
