"""The distillation run: composites, the teacher's maps, one-cycle training, checkpoints."""

import copy
import csv
import hashlib
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from fauxface.errors import CheckpointError, DataError
from fauxface.files import atomic_write
from fauxface.progress import Progress
from fauxface.threads import available_cores
from fauxface_train.checkpoint import writing
from fauxface_train.loading import deaths_told, handed_over
from fauxface_train.locator import starts
from fauxface_train.locator.composites import Composer
from fauxface_train.locator.held_out import compare_maps
from fauxface_train.locator.hints import Adapters
from fauxface_train.locator.losses import distillation_loss, scores
from fauxface_train.locator.net import Shape, Student
from fauxface_train.locator.pictures import Pictures, find_pictures
from fauxface_train.locator.samples import Composites, Sample, quiet_worker, split_held_out
from fauxface_train.locator.teacher import DenseDetector
from fauxface_train.locator.turned import most_turned_first
from fauxface_train.provenance import commit, machine
from fauxface_train.run_state import interruptible

_FORMAT = "fauxface.locator-run/1"
_SAME = ("minutes", "samples", "batch", "size", "rate", "hint", "decay", "seed")
"""What of a run's settings a resumed one must share, since the result depends on it."""
_MAX_SAMPLES = 100_000_000
_LOG_EVERY = 100
_HINT_LEFT = 0.2
_TURNED = 0.35
_EMA = 0.998

Forward = Callable[[torch.Tensor], tuple[torch.Tensor, list[torch.Tensor]]]


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of a run.

    Attributes:
        minutes: Length of the schedule in minutes; None counts samples instead.
        samples: Length of the schedule in pictures; used when minutes is None.
        batch: Pictures per step.
        size: Side of the pictures in pixels, a multiple of 32.
        rate: Peak learning rate of AdamW.
        hint: Weight of the teacher's feature maps at the start; it falls to a fifth. 0 leaves them out.
        decay: Weight decay.
        seed: Seed of the composites and the initial weights.
        workers: Processes that make composites; 0 makes them in the training process.
        threads: Threads of the training process; None takes the cores that the workers leave, since a
            step that waits for a thread without a core is slower than one with fewer threads.
        compiled: Whether to use torch.compile.
        checkpoint_s: Seconds between checkpoints.
        held_out: Number of composites of held-out pictures that the result is measured on.
    """

    minutes: float | None = 20.0
    samples: int = 100_000
    batch: int = 16
    size: int = 320
    rate: float = 3e-3
    hint: float = 1.0
    decay: float = 1e-3
    seed: int = 0
    workers: int = 1
    threads: int | None = None
    compiled: bool = False
    checkpoint_s: float = 120.0
    held_out: int = 300


class Run:
    """One distillation run in a folder that it can be resumed from.

    Args:
        teacher: The teacher's ONNX file.
        faces: Folder of face pictures.
        backgrounds: Folders of pictures without faces, or with few.
        out: Folder of the run.
        config: Settings.
        shape: Widths and depths of the student.
        init: Checkpoint (`last.pt`) of an earlier run, or its folder, whose averaged weights to start from.

    Raises:
        CheckpointError: The teacher isn't in YuNet's format, or `init` is damaged or of another shape.
        DataError: A folder holds no picture.
    """

    def __init__(
        self,
        *,
        teacher: Path,
        faces: Path,
        backgrounds: Sequence[Path],
        out: Path,
        config: Config,
        shape: Shape,
        init: Path | None = None,
    ) -> None:
        self.config, self.shape, self.out, self.teacher = config, shape, out, teacher
        self.commit = commit()
        detector = DenseDetector(teacher, hints=config.hint > 0)
        self.teacher_sha256 = detector.sha256
        face_paths, face_held = split_held_out(find_pictures(faces))
        back_paths, back_held = split_held_out(
            [path for folder in backgrounds for path in find_pictures(folder)]
        )
        self.counts = {
            "faces": len(face_paths),
            "faces_held_out": len(face_held),
            "backgrounds": len(back_paths),
            "backgrounds_held_out": len(back_held),
            "sha256": _names_and_sizes([*face_paths, *face_held, *back_paths, *back_held]),
        }
        self._faces, self._backgrounds = face_paths, back_paths
        self.held_out = Composer(Pictures(face_held), Pictures(back_held), config.size)
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads or max(1, available_cores() - config.workers))
        self.student = Student(shape).to(memory_format=torch.channels_last)
        self.adapters = _adapters(detector, shape)
        self.init = None if init is None else self._start_from(init)
        trained = [*self.student.parameters(), *self.adapters.parameters()]
        decay = [p for p in trained if p.ndim > 1]
        plain = [p for p in trained if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": config.decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate)
        self.average = AveragedModel(self.student, avg_fn=_average, use_buffers=True)
        self.done, self.seconds = 0, 0.0

    def train(self, resume: bool, init: Path | None = None) -> dict[str, float | None] | None:
        """Train to the end of the schedule and return the measures on held-out composites.

        Ctrl-C, SIGTERM and SIGHUP end the current step, write a checkpoint and return None.

        Args:
            resume: Continue from the folder's last checkpoint if there is one.
            init: What a run that is continued was started from, as far as it is there to be compared.

        Raises:
            DataError: The folder holds a run already and `resume` is false; or the loss isn't finite, or
                torch.compile doesn't work.
            CheckpointError: The checkpoint belongs to other settings or another start.
        """
        if (self.out / "last.pt").exists():
            if not resume:
                raise DataError(f"{self.out} holds a run already; add --resume or choose another folder")
            self._load()
            if init is not None and starts.digest(init) not in (None, self.init and self.init["sha256"]):
                raise CheckpointError(
                    f"{self.out} was started from other weights; drop --init, or choose another folder"
                )
        else:
            (self.out / "log.csv").unlink(missing_ok=True)  # of a run that is no more
        self._save()
        forward = self._compiled() if self.config.compiled else self.student.with_features
        composer = self._composer()
        start, saved = time.monotonic() - self.seconds, time.monotonic()
        total = self.config.samples if self.config.minutes is None else None
        sums: dict[str, float] = {}
        steps = 0
        with (
            deaths_told(),
            interruptible() as stop,
            Progress(total, "distil", "pictures", done=self.done) as progress,
        ):
            for pictures, target, hints in self._batches(composer):
                self.seconds = time.monotonic() - start
                if self._position() >= 1 or stop.is_set():
                    break
                parts = self._step(forward, pictures, target, hints)
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
        return None if stop.is_set() and self._position() < 1 else self._measured()

    def _compiled(self) -> Forward:
        """Return the compiled forward pass, once it has worked on a batch."""
        before = copy.deepcopy(self.student.state_dict())
        forward = torch.compile(self.student.with_features)
        side = self.config.size
        try:
            forward(torch.zeros(self.config.batch, 3, side, side))[0].sum().backward()
        except Exception as error:  # the compiler's back ends raise whatever they like
            reason = (str(error).strip().splitlines() or [""])[0][:160]
            raise DataError(
                f"torch.compile doesn't work here, drop --compile: {type(error).__name__}: {reason}"
            ) from None
        self.student.load_state_dict(before)
        self.optimizer.zero_grad(set_to_none=True)
        return forward

    def _step(
        self, forward: Forward, pictures: torch.Tensor, target: torch.Tensor, hints: Sequence[torch.Tensor]
    ) -> dict[str, float]:
        position = self._position()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * one_cycle(position)
        raw, features = forward(pictures.permute(0, 3, 1, 2).float())
        parts = distillation_loss(raw, target)
        if hints:
            parts["hint"] = self.adapters.loss(features, hints, scores(target.float()))
            weight = self.config.hint * (1 - (1 - _HINT_LEFT) * min(position, 1.0))
            parts["loss"] = parts["loss"] + weight * parts["hint"]
        loss = float(parts["loss"].detach())
        if not math.isfinite(loss):
            raise DataError(f"the loss became {loss} after {self.done} pictures; use a lower --rate")
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

    def _composer(self) -> Composer:
        faces = Pictures(most_turned_first(self._faces, self.teacher), front=_TURNED)
        return Composer(faces, Pictures(self._backgrounds), self.config.size)

    def _batches(self, composer: Composer) -> Iterator[Sample]:
        count = _MAX_SAMPLES if self.config.minutes is not None else self.config.samples - self.done
        if count <= 0:
            return
        workers = self.config.workers
        loader = DataLoader(
            Composites(
                composer,
                self.teacher,
                seed=self.config.seed,
                first=self.done,
                count=count,
                hints=self.config.hint > 0,
            ),
            batch_size=self.config.batch,
            sampler=range(count),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=quiet_worker if workers else None,
            multiprocessing_context="spawn" if workers else None,
        )
        yield from handed_over(loader)

    def _log(self, sums: dict[str, float], steps: int) -> None:
        path = self.out / "log.csv"
        fresh = not path.exists() or not path.stat().st_size
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
            "adapters": self.adapters.state_dict(),
            "init": self.init,
            "pictures": self.counts,
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
            "seconds": self.seconds,
        }
        with writing(self.out / "last.pt") as path:
            torch.save(state, path)

    def _load(self) -> None:
        path = self.out / "last.pt"
        try:
            state = torch.load(path, weights_only=True)
            belongs = (
                state["format"] == _FORMAT
                and state["shape"] == self.shape.to_dict()
                and state["teacher_sha256"] == self.teacher_sha256
                and state["pictures"] == self.counts
                and all(state["config"].get(name) == getattr(self.config, name) for name in _SAME)
            )
        except Exception as error:
            raise CheckpointError(f"{path} can't be read; delete it and start again") from error
        if not belongs:
            raise CheckpointError(
                f"{path} has another teacher, shape, {', '.join(_SAME)} or other pictures; "
                "choose another folder"
            )
        self.adapters.load_state_dict(state["adapters"])
        self.init = state["init"]
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.seconds = state["done"], state["seconds"]
        self._cut_log()

    def _cut_log(self) -> None:
        """Drop the log's lines after the checkpoint; those steps are done again."""
        path = self.out / "log.csv"
        if path.exists() and path.stat().st_size:
            head, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            rows = [row for row in rows if row.endswith("\n") and int(row.partition(",")[0]) <= self.done]
            with atomic_write(path) as temporary:
                temporary.write_text("".join([head, *rows]), encoding="utf-8")

    def _start_from(self, path: Path) -> dict[str, object]:
        """Take over the averaged weights of an earlier run; return which they are."""
        start = starts.read(path, self.shape)
        self.student.load_state_dict(start.student)
        own = self.adapters.state_dict()
        if {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in start.adapters.items()}:
            self.adapters.load_state_dict(start.adapters)
        return {"sha256": start.sha256, "samples": start.samples}

    def final(self) -> Student:
        """Return the averaged student in eval mode."""
        student = self.average.module
        assert isinstance(student, Student)
        return student.eval()

    def _measured(self) -> dict[str, float | None]:
        config = self.config
        data = Composites(self.held_out, self.teacher, seed=config.seed + 1, count=config.held_out)
        return compare_maps(self.final(), data, config.size)

    def provenance(self, command: str) -> dict[str, object]:
        """Return what is needed to make the network again."""
        return {
            "format": _FORMAT,
            "command": command,
            "config": asdict(self.config),
            "shape": self.shape.to_dict(),
            "parameters": sum(p.numel() for p in self.student.parameters()),
            "teacher_sha256": self.teacher_sha256,
            "init": self.init,
            "pictures": self.counts,
            "samples": self.done,
            "seconds": round(self.seconds, 1),
            "commit": self.commit,
            "versions": {
                "torch": torch.__version__,
                "opencv": cv2.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "machine": machine() | {"threads": torch.get_num_threads()},
        }


def _adapters(detector: DenseDetector, shape: Shape) -> Adapters:
    """Return maps to the detector's features; none where it shows none."""
    if not detector.hints:
        return Adapters(shape.neck, [])
    outputs = detector.outputs(np.zeros((64, 64, 3), np.uint8))
    return Adapters(shape.neck, [outputs[name].shape[1] for name in detector.hints])


def _average(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    """Average exponentially; the first steps, which know little, are forgotten sooner."""
    keep = min(_EMA, (1 + int(count)) / (10 + int(count)))
    return averaged + (1 - keep) * (current - averaged)


def one_cycle(position: float) -> float:
    """Return the learning rate over its peak: linear warm-up over 6 %, then a cosine to 0.5 %.

    Args:
        position: Share of the schedule that is over, 0 to 1.
    """
    if position < 0.06:
        return 0.02 + 0.98 * position / 0.06
    return 0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * min(1.0, (position - 0.06) / 0.94)))


def _names_and_sizes(paths: Sequence[Path]) -> str:
    """Return a SHA-256 that other files' names or sizes, or another order, change."""
    told = (f"{os.fsencode(path.name).hex()} {path.stat().st_size}\n" for path in paths)
    return hashlib.sha256("".join(told).encode()).hexdigest()
