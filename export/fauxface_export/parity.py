"""The parity gate: every exported file must answer as the network that was trained does."""

import copy
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from fauxface.crops import INPUT_SIZE
from fauxface.errors import GateError
from fauxface.progress import Progress
from fauxface.verdicts import Calibration, Thresholds
from fauxface_train import provenance

Backend = Callable[[np.ndarray], np.ndarray]
"""Maps uint8 [N, 128, 128, 3] RGB to float32 logits [N, 2]."""

BATCHES = (1, 2, 8, 33)
LOGIT_LIMIT = 1e-4
PROBABILITY_LIMIT = 1e-5
REFERENCE = "eager"

_PACKAGES = ("fauxface", "torch", "torchvision", "onnx", "onnxscript", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Row:
    """One backend at one batch size on one kind of input, against the eager network at batch 1.

    Attributes:
        backend: "eager", "torchscript", "pt2" or "onnxruntime".
        inputs: Kind of input: "real", "random" or "golden".
        batch: Batch size.
        crops: Number of crops compared.
        max_logit_difference: Largest absolute difference of any logit.
        max_probability_difference: Largest absolute difference of the calibrated probability.
        equal_decisions: Share of crops with the same label, in [0, 1].
        max_logit_error: Largest absolute difference from the same network computed in float64.
    """

    backend: str
    inputs: str
    batch: int
    crops: int
    max_logit_difference: float
    max_probability_difference: float
    equal_decisions: float
    max_logit_error: float

    @property
    def holds(self) -> bool:
        """Whether the row is within the limits; a NaN isn't."""
        return (
            self.max_logit_difference <= LOGIT_LIMIT
            and self.max_probability_difference <= PROBABILITY_LIMIT
            and self.equal_decisions == 1.0
        )


@dataclass(frozen=True, slots=True)
class Report:
    """Every comparison of one export."""

    rows: tuple[Row, ...]

    def require(self) -> None:
        """Raise a GateError that names the worst row unless every row is within the limits."""
        failed = [row for row in self.rows if not row.holds]
        if failed:
            row = max(failed, key=lambda row: np.nan_to_num(row.max_logit_difference, nan=np.inf))
            raise GateError(
                f"parity failed in {len(failed)} of {len(self.rows)} comparisons; worst: {row.backend} at "
                f"batch {row.batch} on {row.inputs} crops differs by {row.max_logit_difference:.3g} in a "
                f"logit (limit {LOGIT_LIMIT:g}) and by {row.max_probability_difference:.3g} in probability "
                f"(limit {PROBABILITY_LIMIT:g}), {row.equal_decisions:.1%} equal decisions; "
                "no bundle was written"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in the manifest, with versions and CPU."""
        return {
            "reference": f"{REFERENCE}, float32, batch 1",
            "limits": {"logit": LOGIT_LIMIT, "probability": PROBABILITY_LIMIT, "equal_decisions": 1.0},
            "rows": [asdict(row) for row in self.rows],
            "machine": machine(),
        }


def compare(
    deployed: nn.Module,
    backends: Mapping[str, Backend],
    inputs: Mapping[str, np.ndarray],
    calibration: Calibration,
    thresholds: Thresholds,
) -> Report:
    """Compare backends with the eager network at batch 1, 2, 8 and 33.

    Args:
        deployed: The network in eval mode, with its normalisation inside.
        backends: By name; each reads its own exported file.
        inputs: uint8 [N, 128, 128, 3] RGB by kind; a last batch is filled up from the start.
        calibration: From logits to probability.
        thresholds: From probability to label.

    Returns:
        The report; `Report.require` is the gate.
    """
    every = {REFERENCE: eager(deployed), **backends}
    exact = eager(deployed, torch.float64)
    rows = []
    with Progress(len(inputs) * len(every) * len(BATCHES), "parity", "comparisons") as progress:
        for kind, crops in inputs.items():
            reference = _scored(every[REFERENCE], crops, 1)
            truth = _scored(exact, crops, min(len(crops), BATCHES[-1]))
            expected = calibration.probability(reference)
            decisions = [thresholds.label(p) for p in expected]
            for name, backend in every.items():
                for batch in BATCHES:
                    logits = _scored(backend, crops, batch)
                    p = calibration.probability(logits)
                    equal = [
                        thresholds.label(value) == other for value, other in zip(p, decisions, strict=True)
                    ]
                    rows.append(
                        Row(
                            backend=name,
                            inputs=kind,
                            batch=batch,
                            crops=len(crops),
                            max_logit_difference=float(np.max(np.abs(logits - reference))),
                            max_probability_difference=float(np.max(np.abs(p - expected))),
                            equal_decisions=float(np.mean(equal)),
                            max_logit_error=float(np.max(np.abs(logits - truth))),
                        )
                    )
                    progress.advance()
    return Report(tuple(rows))


def eager(deployed: nn.Module, dtype: torch.dtype = torch.float32) -> Backend:
    """Return a function that scores crops with the network itself, computing in a given precision."""
    module = deployed if dtype is torch.float32 else copy.deepcopy(deployed).to(dtype)

    def logits(crops: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(crops)).numpy()

    return logits


def random_crops(count: int = BATCHES[-1], seed: int = 0) -> np.ndarray:
    """Return random crops: white noise and, in turn, noise that was blown up from 2 to 64 cells a side.

    Returns:
        uint8 [count, 128, 128, 3].
    """
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 256, (count, INPUT_SIZE, INPUT_SIZE, 3), dtype=np.uint8)
    for index in range(1, count, 2):
        cells = int(rng.integers(2, 65))
        small = np.ascontiguousarray(crops[index, :cells, :cells])
        crops[index] = cv2.resize(small, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_CUBIC)
    return crops


def machine() -> dict[str, Any]:
    """Return the CPU and the versions that figures were measured with."""
    packages = provenance.installed(_PACKAGES)
    import onnxruntime

    packages["onnxruntime"] = onnxruntime.__version__
    return provenance.machine() | {
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": packages,
    }


def _batches(crops: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(crops), size):
        yield crops[np.arange(start, start + size) % len(crops)]


def _scored(backend: Backend, crops: np.ndarray, size: int) -> np.ndarray:
    """Return float64 [N, 2]: the float32 logits of crops that were scored in batches of exactly `size`."""
    logits = np.concatenate([backend(batch) for batch in _batches(crops, size)])[: len(crops)]
    return logits.astype(np.float64)
