"""The configurations of a run: those that were measured, and those that were refused."""

from dataclasses import dataclass

import numpy as np

from fauxface.manifest import Manifest
from fauxface.verdicts import UNSURE

GOLDEN_TOLERANCE = {"fp32": 1e-3, "fp16": 0.03, "int8": 0.05}
"""Largest absolute difference of a logit between the exporting machine and this one, by precision."""

ALLOWED_CHANGES = {"fp32": 0.0, "fp16": 0.01, "int8": 0.01}
"""Share of the golden crops, rounded up to whole crops, whose label may move to or from "unsure"."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """How faces are judged.

    Attributes:
        provider: Short name of the execution provider that is really in use.
        precision: "fp32", "fp16" or "int8".
        threads: Threads of one inference on the CPU.
    """

    provider: str
    precision: str
    threads: int

    def __str__(self) -> str:
        return f"{self.provider} {self.precision} {self.threads}t"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The golden crops, judged by a configuration and compared with the bundle's record.

    Attributes:
        crops: Number of crops.
        max_difference: Largest absolute difference of a logit.
        tolerance: Largest difference that passes.
        changed_labels: Crops whose label isn't the recorded one.
        reversed_labels: Those of them that went from bona fide to generated or back.
        allowed_changes: Largest number of changed labels that passes.
    """

    crops: int
    max_difference: float
    tolerance: float
    changed_labels: int
    reversed_labels: int
    allowed_changes: int

    @property
    def passed(self) -> bool:
        """Whether the configuration judges as the bundle's record says."""
        return (
            self.max_difference <= self.tolerance
            and self.changed_labels <= self.allowed_changes
            and self.reversed_labels == 0
        )


def compare_golden(manifest: Manifest, precision: str, expected: np.ndarray, actual: np.ndarray) -> Accuracy:
    """Compare this machine's logits of the golden crops with the recorded ones.

    Args:
        manifest: Gives calibration and thresholds, by which the labels are told.
        precision: Decides what is tolerated.
        expected: float32 [K, 2], from the bundle, of this precision.
        actual: float32 [K, 2], from this machine.
    """
    point = manifest.operating_point(precision)
    labels = [
        [point.thresholds.label(p) for p in point.calibration.probability(logits)]
        for logits in (expected, actual)
    ]
    changed = [pair for pair in zip(*labels, strict=True) if pair[0] != pair[1]]
    return Accuracy(
        crops=len(expected),
        max_difference=float(np.abs(actual.astype(np.float64) - expected).max()),
        tolerance=GOLDEN_TOLERANCE[precision],
        changed_labels=len(changed),
        reversed_labels=sum(UNSURE not in pair for pair in changed),
        allowed_changes=int(np.ceil(ALLOWED_CHANGES[precision] * len(expected))),
    )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A configuration that was measured.

    Attributes:
        configuration: The configuration.
        asked: The provider asked for, for example "auto".
        accuracy: How it judges the golden crops.
        cuda_graphs: Whether CUDA replays recorded graphs; None with other providers, and in older files.
        elsewhere: How many nodes of the model other providers run, by short name; None in older files.
    """

    configuration: Configuration
    asked: str
    accuracy: Accuracy
    cuda_graphs: bool | None = None
    elsewhere: dict[str, int] | None = None

    @property
    def remarks(self) -> str:
        """What else is to be said of how it runs, in words; empty where there is nothing."""
        said = [f"{count} nodes on {name}" for name, count in (self.elsewhere or {}).items()]
        if self.cuda_graphs is not None:
            said.append(f"{'with' if self.cuda_graphs else 'without'} CUDA graphs")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A configuration that wasn't measured.

    Attributes:
        provider: The provider asked for.
        precision: The precision, or None where it is about all of them.
        threads: The threads, or None where it is about any number.
        kind: "unavailable" (nobody asked for it, and it doesn't run here), "model" (the variant can't be
            loaded), "accuracy" (it runs, but judges otherwise than the bundle's record) or "failed" (it broke
            off while it was measured).
        reason: Why, in one line.
    """

    provider: str
    precision: str | None
    threads: int | None
    kind: str
    reason: str

    def __str__(self) -> str:
        threads = None if self.threads is None else f"{self.threads}t"
        return " ".join(part for part in (self.provider, self.precision, threads) if part)
