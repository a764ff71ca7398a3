"""The worker's side of the protocol (see benchmarks/protocol.py); it imports the standard library only.

Requests are JSON lines on standard input, each an object with "do"; replies are JSON lines on standard
output, {"ok": true, "value": ...} or {"ok": false, "error": "..."}. What libraries print goes to standard
error.

    open     {"configuration": name, "options": {...}}  ->  {"package": version, ...}
    prepare  {"case": name, "spec": {...}}              ->  null
    answer   {"case": name}                             ->  what the configuration answers
    time     {"case": name, "seconds": s, "least": n, "lead": k}
                                                        ->  {"seconds": [...], "units": [...]}
"""

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class Configuration(Protocol):
    """One way of doing the work."""

    packages: Sequence[str]
    """Distributions whose versions are reported."""

    threads: int | None
    """Threads that it computes with, where the library tells; else None."""

    def prepare(self, case: str, spec: dict[str, Any]) -> None:
        """Get ready for a case: load inputs, compile."""
        ...

    def run(self, case: str) -> Any:
        """Do the work once; this is what is timed."""
        ...

    def units(self, outcome: Any) -> float:
        """Return how many units (faces, frames, pictures, operations) a run's outcome stands for."""
        ...

    def answer(self, outcome: Any) -> Any:
        """Return a run's outcome as JSON values, for comparing configurations."""
        ...


Opener = Callable[[dict[str, Any]], Configuration]


class Server:
    """Answers requests; `serve` feeds it."""

    def __init__(self, openers: Mapping[str, Opener]) -> None:
        self._openers = openers
        self._open: Configuration | None = None

    def handle(self, request: dict[str, Any]) -> Any:
        """Do what a request says and return the value of the reply."""
        do = request["do"]
        if do == "open":
            self._open = self._openers[request["configuration"]](request["options"])
            found: dict[str, Any] = {name: importlib.metadata.version(name) for name in self._open.packages}
            return found | ({} if self._open.threads is None else {"threads": self._open.threads})
        if self._open is None:
            raise RuntimeError(f"asked to {do} before a configuration was opened")
        if do == "prepare":
            return self._open.prepare(request["case"], request["spec"])
        if do == "answer":
            return self._open.answer(self._open.run(request["case"]))
        if do == "time":
            return timed(self._open, request["case"], request["seconds"], request["least"], request["lead"])
        raise ValueError(f"unknown request {do!r}")


def timed(
    configuration: Configuration, case: str, seconds: float, least: int, lead: int
) -> dict[str, list[float]]:
    """Run a case again and again.

    Args:
        configuration: What to time.
        case: A prepared case.
        seconds: Go on until so much time was measured.
        least: Run at least so many times.
        lead: Runs before the first one that counts, since the caches are another worker's.

    Returns:
        "seconds" and "units" of each run.
    """
    for _ in range(lead):
        configuration.run(case)
    found: dict[str, list[float]] = {"seconds": [], "units": []}
    total = 0.0
    while total < seconds or len(found["seconds"]) < least:
        start = time.perf_counter()
        outcome = configuration.run(case)
        elapsed = time.perf_counter() - start
        total += elapsed
        found["seconds"].append(elapsed)
        found["units"].append(configuration.units(outcome))
    return found


def serve(openers: Mapping[str, Opener]) -> None:
    """Answer requests until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = Server(openers)
    for line in sys.stdin:
        try:
            reply: dict[str, Any] = {"ok": True, "value": server.handle(json.loads(line))}
        except (
            Exception
        ) as error:  # a peer's libraries raise whatever they like, and the parent must hear of it
            text = " ".join(str(error).split())[:400]
            reply = {"ok": False, "error": f"{type(error).__name__}: {text}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
