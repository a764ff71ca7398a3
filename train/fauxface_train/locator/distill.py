"""The distillation run: composites, the teacher's maps, one-cycle training, checkpoints."""

import csv
import hashlib
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from fauxface.errors import CheckpointError, DataError
from fauxface.files import atomic_write
from fauxface.progress import Progress
from fauxface_train.locator.composites import Composer, Pictures, find_pictures
from fauxface_train.locator.decode import decode, match
from fauxface_train.locator.losses import distillation_loss
from fauxface_train.locator.net import Shape, Student
from fauxface_train.locator.teacher import DenseDetector
from fauxface_train.provenance import machine

_FORMAT = "fauxface.locator-run/1"
_MAX_SAMPLES = 100_000_000
_HELD_OUT = 0.03
_LOG_EVERY = 100


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of a run.

    Attributes:
        minutes: Length of the schedule in minutes; None counts samples instead.
        samples: Length of the schedule in pictures; used when minutes is None.
        batch: Pictures per step.
        size: Side of the pictures in pixels, a multiple of 32.
        rate: Peak learning rate of AdamW.
        decay: Weight decay.
        seed: Seed of the composites and the initial weights.
        workers: Processes that make composites; 0 makes them in the training process.
        threads: Threads of the training process; None leaves torch's own choice.
        compiled: Whether to use torch.compile.
        checkpoint_s: Seconds between checkpoints.
        held_out: Number of composites of held-out pictures that the result is measured on.
    """

    minutes: float | None = 20.0
    samples: int = 100_000
    batch: int = 16
    size: int = 320
    rate: float = 3e-3
    decay: float = 1e-3
    seed: int = 0
    workers: int = 1
    threads: int | None = None
    compiled: bool = False
    checkpoint_s: float = 120.0
    held_out: int = 300


class Composites(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Composites with the teacher's maps; item i depends on the seed and i alone.

    Args:
        composer: Makes the pictures.
        teacher: File of the teacher; each process opens its own session.
        seed: Run seed.
        first: Number of the first sample.
        count: How many samples there are.
    """

    def __init__(self, composer: Composer, teacher: Path, seed: int, first: int, count: int) -> None:
        self.composer, self.teacher, self.seed, self.first, self.count = composer, teacher, seed, first, count
        self._detector: DenseDetector | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        if self._detector is None:
            cv2.setNumThreads(1)
            self._detector = DenseDetector(self.teacher)
        picture = self.composer.make((self.seed, self.first + index))
        maps = self._detector.dense(picture).astype(np.float16)
        return torch.from_numpy(picture), torch.from_numpy(maps)


def split_held_out(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Split pictures by a hash of their names into those to train on and those to measure on.

    A set too small to spare any is used for both.
    """
    chosen = [hashlib.sha256(p.name.encode()).digest()[0] < 256 * _HELD_OUT for p in paths]
    held = [p for p, out in zip(paths, chosen, strict=True) if out]
    rest = [p for p, out in zip(paths, chosen, strict=True) if not out]
    return (rest, held) if rest and held else (paths, paths)


class Run:
    """One distillation run in a folder that it can be resumed from.

    Args:
        teacher: The teacher's ONNX file.
        faces: Folder of face pictures.
        backgrounds: Folder of pictures without faces.
        out: Folder of the run.
        config: Settings.
        shape: Widths and depths of the student.

    Raises:
        CheckpointError: The teacher isn't in YuNet's format.
        DataError: A folder holds no picture.
    """

    def __init__(
        self,
        *,
        teacher: Path,
        faces: Path,
        backgrounds: Path,
        out: Path,
        config: Config,
        shape: Shape,
    ) -> None:
        self.config, self.shape, self.out, self.teacher = config, shape, out, teacher
        self.teacher_sha256 = DenseDetector(teacher).sha256
        face_paths, face_held = split_held_out(find_pictures(faces))
        back_paths, back_held = split_held_out(find_pictures(backgrounds))
        self.counts = {
            "faces": len(face_paths),
            "faces_held_out": len(face_held),
            "backgrounds": len(back_paths),
            "backgrounds_held_out": len(back_held),
        }
        self.composer = Composer(Pictures(face_paths), Pictures(back_paths), config.size)
        self.held_out = Composer(Pictures(face_held), Pictures(back_held), config.size)
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.student = Student(shape).to(memory_format=torch.channels_last)
        decay = [p for p in self.student.parameters() if p.ndim > 1]
        plain = [p for p in self.student.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": config.decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate)
        self.average = AveragedModel(self.student, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
        self.done, self.seconds = 0, 0.0

    def train(self, resume: bool) -> dict[str, float]:
        """Train to the end of the schedule and return the measures on held-out composites.

        Args:
            resume: Continue from the folder's last checkpoint if there is one.

        Raises:
            DataError: The folder holds a run already and `resume` is false.
            CheckpointError: The checkpoint belongs to other settings.
        """
        if (self.out / "last.pt").exists():
            if not resume:
                raise DataError(f"{self.out} holds a run already; add --resume or choose another folder")
            self._load()
        self._save()
        forward = torch.compile(self.student) if self.config.compiled else self.student
        start, saved = time.monotonic() - self.seconds, time.monotonic()
        total = self.config.samples if self.config.minutes is None else None
        sums: dict[str, float] = {}
        steps = 0
        with Progress(total, "distil", "pictures") as progress:
            for pictures, target in self._batches():
                self.seconds = time.monotonic() - start
                if self._position() >= 1:
                    break
                parts = self._step(forward, pictures, target)
                sums = {name: sums.get(name, 0.0) + value for name, value in parts.items()}
                steps += 1
                progress.advance(len(pictures), f"loss {sums['loss'] / steps:.3f}, at {self._position():.1%}")
                if steps == _LOG_EVERY:
                    self._log(sums, steps)
                    sums, steps = {}, 0
                if time.monotonic() - saved > self.config.checkpoint_s:
                    self._save()
                    saved = time.monotonic()
        self.seconds = time.monotonic() - start
        self._save()
        return self._measure()

    def _step(
        self, forward: Callable[[torch.Tensor], torch.Tensor], pictures: torch.Tensor, target: torch.Tensor
    ) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * one_cycle(self._position())
        with torch.autocast("cpu", torch.bfloat16):
            raw = forward(pictures.permute(0, 3, 1, 2).float())
        parts = distillation_loss(raw, target)
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizer.step()
        self.average.update_parameters(self.student)
        self.done += len(pictures)
        return {name: float(value.detach()) for name, value in parts.items()}

    def _position(self) -> float:
        """Return how much of the schedule is over, 0 to 1."""
        if self.config.minutes is None:
            return self.done / self.config.samples
        return self.seconds / 60 / self.config.minutes

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        count = _MAX_SAMPLES if self.config.minutes is not None else self.config.samples - self.done
        if count <= 0:
            return
        workers = self.config.workers
        yield from DataLoader(
            Composites(self.composer, self.teacher, self.config.seed, self.done, count),
            batch_size=self.config.batch,
            sampler=range(count),
            num_workers=workers,
            prefetch_factor=6 if workers else None,
            multiprocessing_context="spawn" if workers else None,
        )

    def _log(self, sums: dict[str, float], steps: int) -> None:
        path = self.out / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["samples", "seconds", "rate", *sums])
            rate = self.optimizer.param_groups[0]["lr"]
            values = [f"{value / steps:.5f}" for value in sums.values()]
            writer.writerow([self.done, f"{self.seconds:.1f}", f"{rate:.6f}", *values])

    def _save(self) -> None:
        state = {
            "format": _FORMAT,
            "config": asdict(self.config),
            "shape": self.shape.to_dict(),
            "teacher_sha256": self.teacher_sha256,
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
            "seconds": self.seconds,
        }
        with atomic_write(self.out / "last.pt") as path:
            torch.save(state, path)

    def _load(self) -> None:
        path = self.out / "last.pt"
        try:
            state = torch.load(path, weights_only=True)
            belongs = (
                state["format"] == _FORMAT
                and state["shape"] == self.shape.to_dict()
                and state["teacher_sha256"] == self.teacher_sha256
                and state["config"]["seed"] == self.config.seed
                and state["config"]["size"] == self.config.size
            )
        except Exception as error:
            raise CheckpointError(f"{path} can't be read; delete it and start again") from error
        if not belongs:
            raise CheckpointError(f"{path} has another teacher, seed, size or shape; choose another folder")
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.seconds = state["done"], state["seconds"]

    def final(self) -> Student:
        """Return the averaged student in eval mode."""
        student = self.average.module
        assert isinstance(student, Student)
        return student.eval()

    def _measure(self) -> dict[str, float]:
        """Compare the averaged student with the teacher on composites of held-out pictures."""
        size, student = self.config.size, self.final()
        data = Composites(self.held_out, self.teacher, self.config.seed + 1, 0, self.config.held_out)
        expected = found = 0
        overlaps: list[float] = []
        for index in range(len(data)):
            picture, maps = data[index]
            with torch.no_grad():
                raw = student(picture.permute(2, 0, 1)[None].float())[0]
            raw[:, :2] = raw[:, :2].sigmoid()
            truth = decode(maps.numpy().astype(np.float32), size, size)
            guess = decode(raw.numpy(), size, size)
            expected += len(truth)
            found += len(guess)
            overlaps += [overlap for _, _, overlap in match(truth.boxes, guess.boxes)]
        return {
            "composites": len(data),
            "faces": expected,
            "recall": len(overlaps) / max(expected, 1),
            "precision": len(overlaps) / max(found, 1),
            "mean_iou": float(np.mean(overlaps)) if overlaps else 0.0,
        }

    def provenance(self, command: str) -> dict[str, object]:
        """Return what is needed to make the network again."""
        return {
            "format": _FORMAT,
            "command": command,
            "config": asdict(self.config),
            "shape": self.shape.to_dict(),
            "parameters": sum(p.numel() for p in self.student.parameters()),
            "teacher_sha256": self.teacher_sha256,
            "pictures": self.counts,
            "samples": self.done,
            "seconds": round(self.seconds, 1),
            "versions": {
                "torch": torch.__version__,
                "opencv": cv2.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "machine": machine() | {"threads": torch.get_num_threads()},
        }


def one_cycle(position: float) -> float:
    """Return the learning rate over its peak: linear warm-up over 6 %, then a cosine to 0.5 %.

    Args:
        position: Share of the schedule that is over, 0 to 1.
    """
    if position < 0.06:
        return 0.02 + 0.98 * position / 0.06
    return 0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * min(1.0, (position - 0.06) / 0.94)))
