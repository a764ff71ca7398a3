"""Time the same classifier on three paths, side by side in one run: ONNX Runtime, TorchScript, eager PyTorch.

Usage: python benchmarks/paths.py CHECKPOINT [--rounds 30] [--out benchmarks/results/paths.json]

The rounds are interleaved, so that drift of the machine hits all paths alike. Every path's logits are
compared with eager PyTorch's in the same run: a fast path that answers otherwise ends the run with an error.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fauxface.errors import GateError
from fauxface.files import atomic_write
from fauxface.session import Classifier
from fauxface.threads import available_cores
from fauxface_export import onnx_graph, program, torchscript
from fauxface_export.parity import LOGIT_LIMIT
from fauxface_train import checkpoint, provenance

BATCHES = (1, 8, 32)
WARM_UP = 5

Run = Callable[[np.ndarray], np.ndarray]


def open_paths(run: Path, folder: Path, threads: int) -> dict[str, Run]:
    """Return the paths by name, each a function uint8 [N, 128, 128, 3] -> float32 [N, 2]."""
    deployed = checkpoint.load(run).deployed().eval().requires_grad_(False)
    torch.set_num_threads(threads)
    onnx_graph.save(program.capture(deployed), folder / "classifier.onnx", {})
    torchscript.save(deployed, folder / "classifier.pt")

    def eager(crops: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return deployed(torch.from_numpy(crops)).numpy()

    classifier = Classifier((folder / "classifier.onnx").read_bytes(), provider="cpu", threads=threads)
    return {
        "pytorch": eager,
        "torchscript": torchscript.load(folder / "classifier.pt"),
        "onnxruntime": classifier.logits,
    }


def measure(paths: dict[str, Run], rounds: int) -> list[dict[str, Any]]:
    """Return a row per path and batch size: p50 and p90 in milliseconds, and the median per face.

    Raises:
        GateError: A path's logits differ from eager PyTorch's by more than the parity gate allows.
    """
    rng = np.random.default_rng(0)
    rows = []
    for batch in BATCHES:
        crops = rng.integers(0, 256, (batch, 128, 128, 3), np.uint8)
        expected = paths["pytorch"](crops)
        times: dict[str, list[float]] = {name: [] for name in paths}
        for turn in range(WARM_UP + rounds):
            for name, path in paths.items():
                start = time.perf_counter()
                found = path(crops)
                elapsed = time.perf_counter() - start
                if turn >= WARM_UP:
                    times[name].append(1000 * elapsed)
                elif not np.abs(found - expected).max() <= LOGIT_LIMIT:
                    raise GateError(f"{name} answers otherwise than PyTorch; its time would mean nothing")
        for name, values in times.items():
            p50, p90 = np.percentile(values, [50, 90])
            rows.append(
                {
                    "path": name,
                    "batch": batch,
                    "p50_ms": round(float(p50), 2),
                    "p90_ms": round(float(p90), 2),
                    "ms_per_face": round(float(p50) / batch, 2),
                }
            )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table with each path's speed relative to eager PyTorch."""
    base = {row["batch"]: row["p50_ms"] for row in rows if row["path"] == "pytorch"}
    lines = [
        "| path | batch | p50 ms | p90 ms | ms per face | speed against eager PyTorch |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['path']} | {r['batch']} | {r['p50_ms']} | {r['p90_ms']} | {r['ms_per_face']} "
        f"| {base[r['batch']] / r['p50_ms']:.1f}x |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/paths.json"))
    arguments = parser.parse_args()
    threads = available_cores()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(open_paths(arguments.checkpoint, Path(folder), threads), arguments.rounds)
    document = {
        "format": "fauxface.paths/1",
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "threads": threads,
        "rounds": arguments.rounds,
        "rows": rows,
    }
    with atomic_write(arguments.out) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main()
