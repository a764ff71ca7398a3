"""A worker process per configuration; parent and worker talk by JSON lines over standard input and output.

Only the worker that is asked runs: all others are stopped (SIGSTOP, with the processes that they started), so
that spinning threads and prefetching loaders of one never take cores from another.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fauxface.errors import FauxfaceError

WORKERS = Path(__file__).parent / "workers"
TIMEOUT_S = 900.0
_LEAVE_S = 5.0

# These would change what a library's defaults are.
_DROPPED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHOME")


class WorkerError(FauxfaceError):
    """A worker couldn't do what it was asked."""


class Worker:
    """One configuration in a process of its own; use it as a context manager.

    Args:
        name: What the configuration is called in results and messages.
        python: The interpreter of its environment.
        script: The worker script, in `benchmarks/workers` unless the path is absolute.
        configuration: Name of the configuration in that script.
        options: What the script needs to open it; JSON values.
        own_code: Whether the worker imports this checkout's packages (PYTHONPATH is handed on).
        timeout: Most seconds that one request may take.

    Attributes:
        versions: Versions of the packages that it uses, and its number of threads, as it told when it opened.

    Raises:
        WorkerError: It can't be started, or can't open its configuration.
    """

    def __init__(
        self,
        name: str,
        python: Path | str,
        script: str,
        configuration: str,
        options: Mapping[str, Any],
        *,
        own_code: bool = False,
        timeout: float = TIMEOUT_S,
    ) -> None:
        self.name, self._timeout = name, timeout
        dropped = _DROPPED if own_code else (*_DROPPED, "PYTHONPATH")
        surroundings = {key: value for key, value in os.environ.items() if key not in dropped}
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (until close)
        try:
            self._process = subprocess.Popen(
                [str(python), str(WORKERS / script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=surroundings,
                encoding="utf-8",
                process_group=0 if os.name == "posix" else -1,
            )
        except OSError as error:
            self._log.close()
            raise WorkerError(f"{name}: can't start {python}: {error.strerror}") from error
        try:
            self.versions: dict[str, Any] = self.ask(
                "open", configuration=configuration, options=dict(options)
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, do: str, **fields: Any) -> Any:
        """Send a request and return the answer's value; the worker runs only meanwhile.

        Raises:
            WorkerError: It answers with an error, ends, or takes longer than the timeout.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._signal("SIGCONT")
        overdue = threading.Event()
        timer = threading.Timer(self._timeout, lambda: (overdue.set(), self._signal("SIGKILL")))
        timer.start()
        try:
            self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            why = (
                f"took more than {self._timeout:g} s" if overdue.is_set() else f"ended: {self._last_words()}"
            )
            raise WorkerError(f"{self.name} {why}")
        self._signal("SIGSTOP")
        try:
            reply = json.loads(line)
            if reply["ok"]:
                return reply["value"]
            problem = str(reply["error"])
        except (ValueError, KeyError, TypeError):
            problem = f"it answered {line[:80]!r}, which isn't the protocol's JSON"
        raise WorkerError(f"{self.name}: {problem}")

    def close(self) -> None:
        """End the worker and what it started; it has a few seconds to remove its temporary files."""
        self._signal("SIGCONT")
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVE_S)
        self._signal("SIGKILL")
        self._process.wait()
        self._log.close()

    def _signal(self, name: str) -> None:
        """Signal the worker's process group; where there are no such signals, only ending it is possible."""
        if os.name != "posix":
            if name == "SIGKILL":
                self._process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, getattr(signal, name))

    def _last_words(self) -> str:
        self._signal("SIGKILL")
        self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"exit code {self._process.returncode}, without a message"
