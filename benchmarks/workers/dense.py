"""Worker: operations per second of ONNX models, and bytes per second of plain copies.

Options: none. A case's spec for "model": {"model": file, "inputs": .npz, "operations": per run}; for "copy":
{"bytes": size of the array}.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from serve import Opener, serve


class Models:
    """Runs ONNX models as fauxface does: one session each, all available cores, no spinning between runs."""

    packages: Sequence[str] = ("onnxruntime", "numpy")

    def __init__(self) -> None:
        from fauxface.threads import available_cores

        self.threads: int | None = available_cores()
        self._cases: dict[str, tuple[Any, dict[str, np.ndarray], float]] = {}

    def prepare(self, case: str, spec: dict[str, Any]) -> None:
        """Open a model and read its inputs."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads or 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = ort.InferenceSession(spec["model"], options, providers=["CPUExecutionProvider"])
        with np.load(spec["inputs"]) as arrays:
            inputs = {name: arrays[name] for name in arrays.files}
        self._cases[case] = (session, inputs, spec["operations"])

    def run(self, case: str) -> float:
        """Run a model once; return its operations."""
        session, inputs, operations = self._cases[case]
        session.run(None, inputs)
        return operations

    def units(self, outcome: float) -> float:
        """Return the operations."""
        return outcome

    def answer(self, outcome: float) -> float:
        """Return the operations."""
        return outcome


class Copies:
    """Copies an array, each core its part."""

    packages: Sequence[str] = ("numpy",)

    def __init__(self) -> None:
        from fauxface.threads import available_cores

        self.threads: int | None = available_cores()
        self._pool = ThreadPoolExecutor(self.threads)
        self._parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def prepare(self, case: str, spec: dict[str, Any]) -> None:
        """Lay out source and target."""
        size = spec["bytes"] // (self.threads or 1)
        parts = range(self.threads or 1)
        self._parts[case] = [(np.ones(size, np.uint8), np.zeros(size, np.uint8)) for _ in parts]

    def run(self, case: str) -> float:
        """Copy all parts; return the bytes read and written."""
        list(self._pool.map(lambda part: np.copyto(part[1], part[0]), self._parts[case]))
        return 2.0 * sum(source.nbytes for source, _ in self._parts[case])

    def units(self, outcome: float) -> float:
        """Return the bytes."""
        return outcome

    def answer(self, outcome: float) -> float:
        """Return the bytes."""
        return outcome


OPENERS: dict[str, Opener] = {"model": lambda _: Models(), "copy": lambda _: Copies()}

if __name__ == "__main__":
    serve(OPENERS)
