"""Settings of the C library's heap, for what runs for long; where it isn't glibc's they do nothing."""

import contextlib
import ctypes

# malloc.h of glibc
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8
_LARGEST_INT = 2**31 - 1


def share_among_threads() -> None:
    """Let all threads allocate from one heap.

    By default each thread gets a heap of its own; frames that one thread allocates and another one frees then
    leave holes in many heaps, and the process grows with every one of them.
    """
    _set(_M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Keep what is freed for the next allocation.

    By default large blocks are returned to the system at once and come back as pages of zeros, one page fault
    each: for a network's activations that is tens of thousands of faults per step.
    """
    _set(_M_MMAP_MAX, 0)
    _set(_M_TRIM_THRESHOLD, _LARGEST_INT)


def _set(name: int, value: int) -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(name, value)
