"""From prepared data to batches: crops decoded once, views made in worker processes that share them."""

import errno
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from fauxface.crops import Square
from fauxface.errors import DataError
from fauxface.gates import sharpness
from fauxface.progress import track
from fauxface.signals import leave_to_the_main_process
from fauxface.threads import available_cores
from fauxface_train.augment import degraded, flipped, nominal
from fauxface_train.dataset import Sample, load_stored
from fauxface_train.presets import Degradations, Recipe

_PROBE = 2**40
_PROBES = 384
"""Positions of the probe's views: beyond those of any run."""

T = TypeVar("T")

Batch = tuple[torch.Tensor, torch.Tensor]
"""uint8 [B, 128, 128, 3] RGB, or [B, 2, 128, 128, 3] of a clean and a degraded view; and int64 labels [B]."""


class Crops:
    """Stored crops by index: from one file of decoded pixels that all processes map, or decoded at each use.

    Args:
        samples: The samples.
        pixels: File of concatenated uint8 pixels; None: decode at each use.
        sides: Side of each stored crop, where there is a file.
    """

    def __init__(self, samples: Sequence[Sample], pixels: Path | None, sides: Sequence[int]) -> None:
        # Worker processes get copies: what is decoded needs no more of a sample than square and label.
        self._samples = list(samples) if pixels is None else []
        squares = [(s.square.x, s.square.y, s.square.side) for s in samples]
        self._squares = np.array(squares, np.int64).reshape(-1, 3)
        self._labels = np.array([s.label for s in samples], np.int8)
        self._pixels = pixels
        self._sides = np.asarray(sides, np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(3 * self._sides**2)])
        self._map: np.memmap | None = None

    def __len__(self) -> int:
        return len(self._labels)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}

    @property
    def in_memory(self) -> bool:
        """Whether the pixels were decoded once."""
        return self._pixels is not None

    def square(self, index: int) -> Square:
        """Return the nominal square within the stored crop."""
        return Square(*self._squares[index].tolist())

    def label(self, index: int) -> int:
        """Return 0 for bona fide, 1 for generated."""
        return int(self._labels[index])

    def stored(self, index: int) -> np.ndarray:
        """Return a stored crop, uint8 [S, S, 3] RGB."""
        if self._pixels is None:
            return load_stored(self._samples[index])
        if self._map is None:
            self._map = np.memmap(self._pixels, np.uint8, mode="r")
        side = int(self._sides[index])
        return self._map[self._offsets[index] : self._offsets[index + 1]].reshape(side, side, 3)


@contextmanager
def decoded(samples: Sequence[Sample], budget: int) -> Iterator[Crops]:
    """Decode crops once where they fit a budget of memory, and the temporary folder has room.

    The pixels go to a temporary file, which the system keeps in memory and worker processes of any start
    method share without copies. On Linux it has no name, so it goes when the processes end, even killed ones.

    Args:
        samples: The samples.
        budget: Most bytes of pixels; beyond it the crops are decoded at each use.

    Yields:
        The crops; the file goes when the context ends.
    """
    with _temporary() as (file, path):
        try:
            sides = _write_pixels(file, samples, budget)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            sides = []
        fits = len(sides) == len(samples)
        if not fits:
            file.truncate(0)
        yield Crops(samples, path if fits else None, sides if fits else [])


@contextmanager
def _temporary() -> Iterator[tuple[BinaryIO, Path]]:
    """Yield an unbuffered file to write, and a path by which this process and its children can read it."""
    with tempfile.TemporaryDirectory(prefix="fauxface-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "pixels.u8"
        with path.open("wb", buffering=0) as file:
            opened = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
            if opened.exists():
                path.unlink()
                with suppress(
                    OSError
                ):  # a network's file system renames an open file in place of removing it
                    Path(folder).rmdir()
                path = opened
            yield file, path


def _write_pixels(out: BinaryIO, samples: Sequence[Sample], budget: int) -> list[int]:
    """Write the crops' pixels up to a budget in bytes; return the sides of those that were written."""
    sides: list[int] = []
    size = 0
    with ThreadPoolExecutor(available_cores()) as pool:
        waiting = _ahead(pool, samples)
        for crop in track(waiting, len(samples), "decode crops", "crops"):
            size += crop.nbytes
            if size > budget:
                break
            sides.append(crop.shape[0])
            data = np.ascontiguousarray(crop).reshape(-1).data
            while data:
                data = data[out.write(data) :]
        waiting.close()
    return sides


def _ahead(
    pool: ThreadPoolExecutor, samples: Sequence[Sample], step: int = 64
) -> Generator[np.ndarray, None, None]:
    """Decode in order, a few dozen at a time, so that what doesn't fit the budget isn't decoded in vain."""
    for start in range(0, len(samples), step):
        yield from pool.map(load_stored, samples[start : start + step])


class Views(Dataset[tuple[np.ndarray, int]]):
    """Train views: what they show depends on the seed and the position in the run, not on the process.

    Args:
        crops: The stored crops.
        degradations: Their settings; None: a horizontal flip only.
        seed: Seed of the run.
        pairs: Whether a view that is only framed stands before each degraded one, as uint8 [2, 128, 128, 3].
    """

    def __init__(
        self, crops: Crops, degradations: Degradations | None, seed: int, pairs: bool = False
    ) -> None:
        self._crops = crops
        self._degradations = degradations
        self._seed = seed
        self._framed = degradations.scaled(0) if degradations is not None and pairs else None

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int]:
        position, index = key
        rng = np.random.default_rng([self._seed, 3, position])
        square, label, stored = self._crops.square(index), self._crops.label(index), self._crops.stored(index)
        if self._degradations is None:
            return flipped(stored, square, rng), label
        view = degraded(stored, square, rng, self._degradations)
        if self._framed is not None:
            view = np.stack([degraded(stored, square, rng, self._framed), view])
        return view, label


def batches(
    views: Views, plan: Iterable[list[tuple[int, int]]], workers: int, pin: bool = False
) -> Iterable[Batch]:
    """Return the batches of a plan, made ahead in worker processes.

    Args:
        views: The views.
        plan: Batches of (position, index) pairs.
        workers: Worker processes; 0: made in this process.
        pin: Whether the batches lie in pinned memory, for CUDA.

    Raises:
        DataError: A stored crop can't be read.
        RuntimeError: A worker process died; see `deaths_told`.
    """
    loader = DataLoader(
        views,
        batch_sampler=plan,  # pyright: ignore[reportArgumentType]  (any iterable of batches serves)
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker,
        # A forked child of a process with running OpenMP threads may hang, and a fork server's child outlives
        # a killed parent, since torch's watchdog looks at the server.
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
    )
    return handed_over(loader)


def handed_over(loader: Iterable[T]) -> Iterator[T]:
    """Yield what worker processes make; their errors come in one line, as they would without workers.

    Raises:
        DataError: As in the worker.
    """
    try:
        yield from loader
    except DataError as error:
        # torch puts the worker's traceback before its message, and the error escapes it.
        name = f"{DataError.__module__}.{DataError.__qualname__}: "
        error.__traceback__ = None  # it holds the loader, and so the workers, which an exit would wait for
        raise DataError(str(error).removesuffix("\\n").rpartition(name)[2]) from None


@contextmanager
def deaths_told() -> Iterator[None]:
    """Say in one line that a worker process died, which torch raises wherever the main thread just is.

    Raises:
        DataError: One died.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:  # the latter two of what it was handing over
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        error.__traceback__ = None  # as in `handed_over`
        raise DataError(
            "a worker process died, perhaps for lack of memory, or of shared memory, which docker run "
            "--shm-size=2g gives; run it again with fewer --workers"
        ) from None


def _start_worker(_: int) -> None:
    """Leave the other cores, and signals, to the main process."""
    cv2.setNumThreads(1)
    leave_to_the_main_process()


def collate(items: Sequence[tuple[np.ndarray, int]]) -> Batch:
    """Stack views and labels."""
    pictures = torch.from_numpy(np.stack([picture for picture, _ in items]))
    return pictures, torch.tensor([label for _, label in items])


def default_workers(device: torch.device) -> int:
    """Return how many worker processes to start: half the cores beside a CPU's training, else all but one."""
    cores = available_cores()
    return max(1, cores // 2) if device.type == "cpu" else max(1, min(cores - 1, 12))


def sharpness_of(crops: Crops) -> np.ndarray:
    """Return the sharpness of each nominal train crop, float [N]: what batches are matched by."""
    with ThreadPoolExecutor(available_cores()) as pool:
        found = pool.map(lambda i: sharpness(nominal(crops.stored(i), crops.square(i))), range(len(crops)))
        return np.array(list(track(found, len(crops), "measure sharpness", "crops")))


def probe_faces(crops: Crops, recipe: Recipe) -> np.ndarray:
    """Return views of train pictures for measuring layer statistics: half of each label, as far as they go.

    Returns:
        uint8 [N, 128, 128, 3] RGB, N at most 384.
    """
    rng = np.random.default_rng([recipe.seed, 4])
    labels = np.array([crops.label(i) for i in range(len(crops))])
    picked = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == value))[: _PROBES // 2] for value in (0, 1)]
    )
    views = Views(crops, recipe.degradations, recipe.seed)
    return np.stack([views[_PROBE + i, int(index)][0] for i, index in enumerate(picked)])
