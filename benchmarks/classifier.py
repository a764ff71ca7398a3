"""Time the classifier from 128 px crops to logits on every path that users would otherwise take, and on ours.

Usage: python benchmarks/classifier.py [--rounds 12] [--seconds 0.2] [--skip NAME]... [--out FILE]

All configurations have the shipped weights and get the same crops. Their answers are compared in the same
run: one that answers otherwise ends it with an error, since its time would mean nothing.
"""

from contextlib import ExitStack
from typing import Any

import numpy as np

import harness
import peers
import weights
from fauxface.bundle import Bundle
from fauxface.errors import GateError
from harness import Row, Turn
from plots import bars

BATCHES = (1, 4, 8)
EXACT_LOGITS = 1e-3
"""Most that a logit of an fp32 configuration may differ; docs/bundle.md allows as much between machines."""
EQUAL_LABELS = 0.85
"""Least share of crops on which a configuration of lower precision must agree with the fp32 label."""

LOWER_PRECISION = ("openvino", "fauxface int8")
"""Configurations that don't compute in fp32: OpenVINO's default is bf16 where the processor has it."""


def check(name: str, found: np.ndarray, expected: np.ndarray, rule: dict[str, float]) -> dict[str, Any]:
    """Compare a configuration's logits with the reference's.

    Args:
        name: The configuration.
        found: float [N, 2].
        expected: float [N, 2], from fauxface at fp32.
        rule: From `weights.rule`.

    Returns:
        The largest difference of a logit, and the share of equal labels at the threshold of "generated".

    Raises:
        GateError: They differ by more than the configuration's precision explains.
    """
    if found.shape != expected.shape:
        raise GateError(
            f"{name} gives {list(found.shape)}, not {list(expected.shape)}; its time means nothing"
        )
    difference = float(np.abs(found - expected).max())
    equal = float(np.mean(_generated(found, rule) == _generated(expected, rule)))
    holds = equal >= EQUAL_LABELS if name in LOWER_PRECISION else difference <= EXACT_LOGITS
    if not holds or not np.isfinite(difference):
        raise GateError(
            f"{name} answers otherwise than fauxface fp32 (a logit by {difference:.4g}, {equal:.1%} equal "
            "labels); its time would mean nothing"
        )
    return {"max_logit_difference": float(f"{difference:.3g}"), "equal_labels": round(equal, 4)}


def _generated(logits: np.ndarray, rule: dict[str, float]) -> np.ndarray:
    z = (logits[:, 1] - logits[:, 0]) / rule["temperature"] + rule["bias"]
    return 1 / (1 + np.exp(-z)) >= rule["generated_from"]


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
    bundle = Bundle.load(arguments.bundle)
    reference = "fauxface fp32"
    with ExitStack() as stack:
        made = stack.enter_context(weights.files(bundle))
        shared = {
            "weights": str(made.weights),
            "plain": str(made.plain),
            "crops": str(made.crops),
            "bundle": str(bundle.path),
        }
        compared = [*peers.NETWORKS, *peers.own(bundle)]
        workers = peers.open_workers(stack, compared, "classify.py", shared, arguments)
        rule = weights.rule(bundle)
        crops = np.load(made.crops)
        crops = crops[np.arange(BATCHES[-1]) % len(crops)]
        agreement = {}
        for name, worker in workers.items():
            for batch in BATCHES:
                worker.ask("prepare", case=f"batch {batch}", spec={"batch": batch})
            answer = np.array(worker.ask("answer", case=f"batch {len(crops)}"), np.float64)
            agreement[name] = check(name, answer, _expected(bundle, crops), rule)
        busy = harness.require_idle(arguments.busy)
        turns = [
            Turn(worker, f"batch {batch}", arguments.seconds)
            for batch in BATCHES
            for worker in workers.values()
        ]
        rows = harness.measure(turns, arguments.rounds)
        content = harness.document(
            arguments,
            rows,
            versions=peers.versions(workers),
            busy=busy,
            unit="face",
            reference=reference,
            ratios=harness.ratios_to(rows, "article"),
            claims=claims(rows),
            agreement=agreement,
        )
    harness.write(content, arguments.out)
    bars(content, arguments.out.with_suffix(".png"), "ms per face, from crop to logits")


def _expected(bundle: Bundle, crops: np.ndarray) -> np.ndarray:
    """Return the fp32 classifier's logits, from this process."""
    from fauxface.session import Classifier

    return Classifier(bundle.classifier_bytes("fp32"), provider="cpu").logits(crops).astype(np.float64)


if __name__ == "__main__":
    harness.run(main)
