"""What a run keeps between its steps and between its processes: position, resume file, interruption."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fauxface.errors import CheckpointError
from fauxface.signals import ENDING

RESUME_FILE = "resume.pt"
_HELD = {"recipe", "data", "initial", "position", "engine"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run's result doesn't depend on, apart from rounding.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        workers: Worker processes that make views; None: as many as fit the machine; 0: none.
        cache_bytes: Most memory for decoded crops.
        checkpoint_seconds: Time between two periodic checkpoints.
        stop_after: Steps after which the run stops as if interrupted; None: never.
        say: Takes lines for the log.
    """

    device: str = "auto"
    workers: int | None = None
    cache_bytes: int = 4 << 30
    checkpoint_seconds: float = 180.0
    stop_after: int | None = None
    say: Callable[[str], None] = print


@dataclass(slots=True)
class Position:
    """How far a run is.

    Attributes:
        step: Batches done.
        samples: Pictures seen.
        seconds: Time spent, over all resumptions.
        best: Best value of the metric so far; None before the first validation.
        best_samples: Pictures seen when it was measured.
        stale: Validations since then.
        losses: Losses of the steps since the last train row.
        rows: The log.
        command: The command line that started the run.
        processes: Commit, versions, machine, device and precision of the processes that trained, each with
            the pictures seen before it; one like the process before isn't listed.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_samples: int = 0
    stale: int = 0
    losses: list[float] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    command: str = ""
    processes: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        finished: False where it was interrupted and can be resumed.
        samples: Pictures seen.
        planned: Pictures of the whole run.
        metrics: Validation metrics of the best checkpoint; empty where it was interrupted.
    """

    finished: bool
    samples: int
    planned: int
    metrics: dict[str, float]


def read_resume(out: Path) -> dict[str, Any]:
    """Return the content of a run's resume file.

    Raises:
        CheckpointError: There is none, or it is corrupt.
    """
    path = out / RESUME_FILE
    if not path.is_file():
        raise CheckpointError(f"{out} holds no run to resume; start one without --resume")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, dict) or not found.keys() >= _HELD:
            raise ValueError("not of a training run")
        return found
    except Exception as error:  # torch.load lets whatever the bytes provoke through
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise CheckpointError(
            f"{path} is corrupt ({reason}); start a new run elsewhere from its last.safetensors"
        ) from None


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Make an event of the first Ctrl-C, SIGTERM or SIGHUP, to cut no step in half; a second one ends.

    A SIGHUP that is ignored, as under nohup, stays so.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    always = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in ENDING}
    previous = {n: handler for n, handler in handlers.items() if n in always or handler != signal.SIG_IGN}

    def note(number: int, _: object) -> None:
        event.set()
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, note)
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
