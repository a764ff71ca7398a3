"""The buyer's question: which configurations hold a frame rate with so many faces, and by how much."""

import math
from dataclasses import dataclass

import numpy as np

from fauxface.bench.configurations import Configuration
from fauxface.bench.results import FRAME, BenchReport, Measurement
from fauxface.bench.stats import percentile


@dataclass(frozen=True, slots=True)
class Budget:
    """Whether one configuration holds a frame rate.

    Attributes:
        configuration: The configuration.
        locate_ms: Median time of the locator on a frame.
        face_ms: Median time of each face of a frame beyond the locator.
        frame_ms: Median time of a frame: locator and all faces.
        frame_p99_ms: 99th percentile of it; the longest of fewer than 100 frames.
        budget_ms: Time between two frames of the wanted rate.
        frames: How many frames were measured.
        faces_held: Estimate of the largest number of faces for which the 99th percentile stays in the budget:
            that of the locator alone, and for each face what the median or the 99th percentile grows by,
            whichever is more. None where faces took no measurable time.
    """

    configuration: Configuration
    locate_ms: float
    face_ms: float
    frame_ms: float
    frame_p99_ms: float
    budget_ms: float
    frames: int
    faces_held: int | None

    @property
    def holds(self) -> bool:
        """Whether 99 of 100 frames are judged before the next one comes."""
        return self.frame_p99_ms <= self.budget_ms

    @property
    def headroom(self) -> float:
        """Share of the budget that a frame at the 99th percentile leaves; negative where it takes more."""
        return 1 - self.frame_p99_ms / self.budget_ms

    @property
    def frames_per_s(self) -> float:
        """Frames per second at the median."""
        return 1000 / max(self.frame_ms, 1e-9)


def budgets(report: BenchReport) -> list[Budget]:
    """Return the answer for every configuration that was measured with a budget, most headroom first."""
    target, faces = report.settings.target_fps, report.settings.faces
    if target is None:
        return []
    alone, loaded = (
        {m.configuration: m for m in report.measurements if m.scenario == FRAME and m.faces == count}
        for count in (0, faces)
    )
    answers = []
    for configuration in alone.keys() & loaded.keys():
        locate, tail_alone = _times(alone[configuration])
        frame, tail = _times(loaded[configuration])
        budget = 1000 / target
        slope = max(tail - tail_alone, frame - locate) / faces
        held = max(0, math.floor((budget - tail_alone) / slope + 1e-9)) if slope > 0 else None
        if held is not None:
            # What was measured outweighs the line through it.
            held = max(held, faces) if tail <= budget else min(held, faces - 1)
        answers.append(
            Budget(
                configuration=configuration,
                locate_ms=locate,
                face_ms=max(0.0, (frame - locate) / faces),
                frame_ms=frame,
                frame_p99_ms=tail,
                budget_ms=budget,
                frames=sum(len(values) for values in loaded[configuration].latencies_ms()),
                faces_held=held,
            )
        )
    return sorted(answers, key=lambda answer: (-answer.headroom, str(answer.configuration)))


def _times(measurement: Measurement) -> tuple[float, float]:
    """Return median and 99th percentile in milliseconds."""
    together = np.concatenate(measurement.latencies_ms())
    return percentile(together, 0.5), percentile(together, 0.99)
