"""Time the classifier from 128 px crops to logits on every path that users would otherwise take, and on ours.

Usage: python benchmarks/classifier.py [--rounds 12] [--seconds 0.2] [--skip NAME]... [--out FILE]

All configurations have the shipped weights and get the same crops. Their answers are compared in the same
run: one that answers otherwise ends it with an error, since its time would mean nothing. Compared are the
bundle's golden crops, with camera faces and generated ones among them, and each of them softened: that moves
answers across the thresholds, and with the shipped bundle every label is among them.
"""

from collections import Counter
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np

import harness
import peers
import start
import weights
from fauxface.bundle import Bundle
from fauxface.errors import GateError
from fauxface.manifest import OperatingPoint
from harness import Row, Turn
from plots import bars

BATCHES = (1, 4, 8)
EXACT_LOGITS = 1e-3
"""Most that a logit of an fp32 configuration may differ; docs/bundle.md allows as much between machines."""
NEAR_LOGITS = 0.5
"""Most RMS over the crops by which the difference of the two logits may differ at lower precision.

int8's is 0.16 on data and 0.14 on these crops, bf16's below 0.1; that of answers that are all zero, swapped
or in another order is above 2.
"""
EQUAL_LABELS = 0.85
"""Least share of crops on which a configuration of lower precision must agree with the fp32 label."""
SOFT = 32
"""Side in pixels by way of which crops are softened."""

LOWER_PRECISION = ("openvino", "fauxface int8")
"""Configurations that don't compute in fp32: OpenVINO's default is bf16 where the processor has it."""


def compared(bundle: Bundle) -> np.ndarray:
    """Return the golden crops, then each softened, uint8 [N, 128, 128, 3]."""
    golden = bundle.golden()[0]
    small = [cv2.resize(crop, (SOFT, SOFT), interpolation=cv2.INTER_AREA) for crop in golden]
    soft = [cv2.resize(crop, golden.shape[1:3], interpolation=cv2.INTER_LINEAR) for crop in small]
    return np.concatenate([golden, np.stack(soft)])


def check(name: str, found: np.ndarray, expected: np.ndarray, point: OperatingPoint) -> dict[str, Any]:
    """Compare a configuration's logits with the reference's.

    Args:
        name: The configuration.
        found: float [N, 2].
        expected: float [N, 2], from fauxface at fp32.
        point: The operating point of fp32.

    Returns:
        The largest difference of a logit, the RMS difference of the difference of the two logits, and the
        share of equal labels.

    Raises:
        GateError: They differ by more than the configuration's precision explains.
    """
    if found.shape != expected.shape:
        raise GateError(
            f"{name} gives {list(found.shape)}, not {list(expected.shape)}; its time means nothing"
        )
    difference = float(np.abs(found - expected).max())
    rms = float(np.sqrt(np.mean(np.diff(found - expected) ** 2)))
    equal = float(
        np.mean([a == b for a, b in zip(labels(found, point), labels(expected, point), strict=True)])
    )
    near = rms <= NEAR_LOGITS and equal >= EQUAL_LABELS
    if not (near if name in LOWER_PRECISION else difference <= EXACT_LOGITS):
        raise GateError(
            f"{name} answers otherwise than fauxface fp32 (a logit by {difference:.4g}, their difference by "
            f"{rms:.4g} RMS, {equal:.1%} equal labels); its time would mean nothing"
        )
    return {
        "max_logit_difference": float(f"{difference:.3g}"),
        "rms_logit_difference": float(f"{rms:.3g}"),
        "equal_labels": round(equal, 4),
    }


def labels(logits: np.ndarray, point: OperatingPoint) -> list[str]:
    """Return the label of each crop."""
    return [point.thresholds.label(p) for p in point.calibration.probability(logits).tolist()]


def claims(rows: list[Row]) -> list[dict[str, Any]]:
    """Return what the project claims of the classifier."""
    found = []
    for batch, aim in ((8, 3.0), (1, 2.5)):
        case = f"batch {batch}"
        text = f"classifier, int8 against fp32 in ONNX Runtime, batch {batch}"
        found += harness.speed_claim(rows, text, ("fauxface int8", case), ("fauxface fp32", case), aim)
    return found


def main() -> None:
    """Measure, compare the answers, write JSON and plot."""
    arguments = harness.parser(__doc__, "classifier", rounds=12, seconds=0.2).parse_args()
    began = start.before(arguments)
    bundle = Bundle.load(arguments.bundle)
    reference = "fauxface fp32"
    with ExitStack() as stack:
        made = stack.enter_context(weights.files(bundle))
        crops = compared(bundle)
        np.save(made.folder / "compared.npy", crops)
        shared = {
            "weights": str(made.weights),
            "plain": str(made.plain),
            "crops": str(made.folder / "compared.npy"),
            "bundle": str(bundle.path),
        }
        configurations = [*peers.NETWORKS, *peers.own(bundle)]
        workers = peers.open_workers(stack, configurations, "classify.py", shared, arguments)
        point, expected = bundle.manifest.operating_point(), _expected(bundle, crops)
        agreement = {}
        for name, worker in workers.items():
            for batch in (*BATCHES, len(crops)):
                worker.ask("prepare", case=f"batch {batch}", spec={"batch": batch})
            answer = np.array(worker.ask("answer", case=f"batch {len(crops)}"), np.float64)
            agreement[name] = check(name, answer, expected, point)
        turns = [
            Turn(worker, f"batch {batch}", arguments.seconds)
            for batch in BATCHES
            for worker in workers.values()
        ]
        rows = harness.measure(turns, arguments.rounds, busy=arguments.busy)
        content = harness.document(
            arguments,
            rows,
            versions=peers.versions(workers),
            began=began,
            unit="face",
            reference=reference,
            ratios=harness.ratios_to(rows, "article"),
            claims=claims(rows),
            agreement=agreement,
            labels_compared=Counter(labels(expected, point)),
        )
    harness.write(content, arguments.out)
    bars(content, arguments.out.with_suffix(".png"), "ms per face, from crop to logits")


def _expected(bundle: Bundle, crops: np.ndarray) -> np.ndarray:
    """Return the fp32 classifier's logits, from this process."""
    from fauxface.session import Classifier

    return Classifier(bundle.classifier_bytes("fp32"), provider="cpu").logits(crops).astype(np.float64)


if __name__ == "__main__":
    harness.run(main)
