"""Composites with what the teacher sees in them, as a data set for worker processes."""

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from fauxface.signals import leave_to_the_main_process
from fauxface_train.locator.composites import Composer
from fauxface_train.locator.decode import pack
from fauxface_train.locator.teacher import DenseDetector

_HELD_OUT = 0.03
_ONE_OF = 5

Sample = tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]
"""uint8 [S, S, 3] BGR; float16 [cells, 16] packed maps; float16 [C, S/s, S/s] feature maps, or none."""


class Composites(Dataset[Sample]):
    """Composites with the teacher's maps; item i depends on the seed and i alone.

    Args:
        composer: Makes the pictures.
        teacher: File of the teacher; each process opens its own session.
        seed: Run seed.
        first: Number of the first sample.
        count: How many samples there are.
        hints: Whether to return the teacher's feature maps too.
    """

    def __init__(
        self,
        composer: Composer,
        teacher: Path,
        *,
        seed: int,
        first: int = 0,
        count: int,
        hints: bool = False,
    ) -> None:
        self.composer, self.teacher, self.seed, self.first, self.count = composer, teacher, seed, first, count
        self.hints = hints
        self._detector: DenseDetector | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        if self._detector is None:
            cv2.setNumThreads(1)
            self._detector = DenseDetector(self.teacher, hints=self.hints)
        picture = self.composer.make((self.seed, self.first + index))
        outputs = self._detector.outputs(picture)
        features = [_half(outputs[name][0]) for name in self._detector.hints]
        return torch.from_numpy(picture), _half(pack(outputs)), features


def split_held_out(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Split pictures by a hash of their names into those to train on and those to measure on.

    Where the hashes hold none or all out, as they may of few names, every fifth is held out. A single picture
    is used for both.
    """
    chosen = [hashlib.sha256(os.fsencode(p.name)).digest()[0] < 256 * _HELD_OUT for p in paths]
    held = [p for p, out in zip(paths, chosen, strict=True) if out]
    rest = [p for p, out in zip(paths, chosen, strict=True) if not out]
    if not rest or not held:
        few = set(list(dict.fromkeys(paths))[::_ONE_OF])
        held, rest = [p for p in paths if p in few], [p for p in paths if p not in few]
    return (rest, held) if rest else (paths, paths)


def quiet_worker(_: int) -> None:
    """Start a worker process of a data loader."""
    leave_to_the_main_process()


def _half(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.clip(values, -6e4, 6e4).astype(np.float16))
