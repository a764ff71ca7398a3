"""Report what share of the machine's int8 and fp32 peak the classifier reaches, and draw the roofline.

Usage: python benchmarks/roofline.py [--rounds 12] [--seconds 0.2] [--out FILE]

The peak is the fastest dense product that ONNX Runtime manages on the same cores in the same run: matrix
products and 1x1 convolutions of several sizes and a 3x3 convolution of ResNet18 are tried.
"""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import dense_models
import harness
import start
import weights
from dense_models import Product
from fauxface.bundle import Bundle
from fauxface.errors import FauxfaceError
from harness import Row, Turn
from plots import roofline
from protocol import Worker

BATCHES = (1, 8, 32)
COPY_BYTES = 1 << 27
SHARE = 0.65
_BYTES_PER_VALUE = {"fp32": 4, "int8": 1}


def roofs(rows: list[Row], products: list[Product]) -> dict[str, Any]:
    """Return the fastest dense product of each precision in operations per second, and bytes per second."""
    fastest: dict[str, tuple[float, str]] = {}
    for product in products:
        row = harness.find(rows, "dense", product.name)
        assert row is not None
        rate = 1 / float(np.median(row.rounds))
        fastest[product.precision] = max(fastest.get(product.precision, (0.0, "")), (rate, product.name))
    copy = harness.find(rows, "memory", "copy")
    assert copy is not None
    return {
        "ops_per_s": {precision: float(f"{rate:.6g}") for precision, (rate, _) in fastest.items()},
        "product": {precision: name for precision, (_, name) in fastest.items()},
        "bytes_per_s": float(f"{1 / float(np.median(copy.rounds)):.6g}"),
    }


def points(rows: list[Row], found: dict[str, Any], values: tuple[int, int], operations: float) -> list[Any]:
    """Return where the classifier lies: per precision and batch its operations per second and per byte.

    Args:
        rows: What was measured.
        found: From `roofs`.
        values: Weights, and values moved per picture; from `weights.layer_values`.
        operations: Operations of one picture.

    Returns:
        Each with "share", its part of the precision's fastest dense product, with "low" and "high".
    """
    made = []
    for row in rows:
        if not row.configuration.startswith("classifier "):
            continue
        precision = row.configuration.removeprefix("classifier ")
        dense = harness.find(rows, "dense", found["product"][precision])
        assert dense is not None
        share = harness.ratio(dense.rounds, row.rounds)
        batch = int(row.case.removeprefix("batch "))
        moved = _BYTES_PER_VALUE[precision] * (values[0] + batch * values[1])
        made.append(
            {
                "precision": precision,
                "case": row.case,
                "ops_per_s": float(f"{1 / float(np.median(row.rounds)):.6g}"),
                "ops_per_byte": round(batch * operations / moved, 2),
                "share": round(share.value, 4),
                "low": round(share.low, 4),
                "high": round(share.high, 4),
            }
        )
    return made


def claims(found: list[Any]) -> list[dict[str, Any]]:
    """Return the claim of the int8 classifier's best batch size; nothing where there is none."""
    best = max((p for p in found if p["precision"] == "int8"), key=lambda p: p["share"], default=None)
    if best is None:
        return []
    text = f"int8 classifier's share of the fastest dense int8 product, {best['case']}"
    return [harness.claim(text, harness.Ratio(best["share"], best["low"], best["high"]), SHARE)]


def main() -> None:
    """Measure, write JSON and plot."""
    arguments = harness.parser(__doc__, "roofline", rounds=12, seconds=0.2).parse_args()
    began = start.before(arguments)
    if arguments.skip:
        raise FauxfaceError("the roofline needs all its configurations; leave --skip out")
    bundle = Bundle.load(arguments.bundle)
    fp32 = bundle.classifier_bytes("fp32")
    operations = 2.0 * weights.multiply_adds(fp32)
    with ExitStack() as stack:
        made = stack.enter_context(weights.files(bundle))
        products = dense_models.write_all(made.folder)

        def opened(name: str, configuration: str) -> Worker:
            worker = Worker(name, sys.executable, "dense.py", configuration, {}, own_code=True)
            return stack.enter_context(worker)

        workers = [opened("dense", "model"), opened("memory", "copy")]
        turns = [_turn(workers[0], product.name, _spec(product), arguments.seconds) for product in products]
        turns.append(_turn(workers[1], "copy", {"bytes": COPY_BYTES}, arguments.seconds))
        for precision in weights.precisions(bundle):
            worker = opened(f"classifier {precision}", "model")
            workers.append(worker)
            model = made.folder / f"classifier-{precision}.onnx"
            model.write_bytes(bundle.classifier_bytes(precision))
            for batch in BATCHES:
                inputs = made.folder / f"batch-{batch}.npz"
                np.savez(inputs, **{_input_name(model): _batch(made.crops, batch)})  # pyright: ignore[reportArgumentType]
                spec = {"model": str(model), "inputs": str(inputs), "operations": batch * operations}
                turns.append(_turn(worker, f"batch {batch}", spec, arguments.seconds))
        rows = harness.measure(turns, arguments.rounds, busy=arguments.busy)
        found = roofs(rows, products)
        placed = points(rows, found, weights.layer_values(fp32), operations)
        content = harness.document(
            arguments,
            rows,
            versions={worker.name: worker.versions for worker in workers},
            began=began,
            unit="operation",
            operations_per_face=operations,
            roofs=found,
            points=placed,
            claims=claims(placed),
        )
    harness.write(content, arguments.out)
    roofline(content, arguments.out.with_suffix(".png"))


def _turn(worker: Worker, case: str, spec: dict[str, Any], seconds: float) -> Turn:
    worker.ask("prepare", case=case, spec=spec)
    return Turn(worker, case, seconds)


def _spec(product: Product) -> dict[str, Any]:
    return {"model": str(product.model), "inputs": str(product.inputs), "operations": product.operations}


def _batch(crops: Path, batch: int) -> np.ndarray:
    stored = np.load(crops)
    return stored[np.arange(batch) % len(stored)]


def _input_name(model: Path) -> str:
    import onnx

    return onnx.load(model).graph.input[0].name


if __name__ == "__main__":
    harness.run(main)
