"""Worker: crops of 128 px to logits. Options: those of `networks`, "crops" (.npy); for fauxface the "bundle".

A case's spec: {"batch": n}; the batch takes the first n crops, over again where there are fewer.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from networks import PEERS, Network
from serve import Opener, serve


class Classify:
    """Scores batches of crops."""

    def __init__(self, network: Network, crops: Path) -> None:
        self.packages: Sequence[str] = network.packages
        self.threads: int | None = network.threads
        self._network = network
        self._crops: np.ndarray = np.load(crops)
        self._batches: dict[str, np.ndarray] = {}

    def prepare(self, case: str, spec: dict[str, Any]) -> None:
        """Take the first crops as the case's batch."""
        self._batches[case] = self._crops[np.arange(spec["batch"]) % len(self._crops)].copy()

    def run(self, case: str) -> np.ndarray:
        """Score a batch, from uint8 crops to float32 logits."""
        return self._network.logits(self._batches[case])  # pyright: ignore[reportArgumentType]  (rows are crops)

    def units(self, outcome: np.ndarray) -> float:
        """Return the number of faces."""
        return len(outcome)

    def answer(self, outcome: np.ndarray) -> list[list[float]]:
        """Return the logits."""
        return [[float(value) for value in row] for row in outcome]


def fauxface(options: dict[str, Any]) -> Network:
    """Open fauxface's own session at a precision of the bundle."""
    from fauxface.bundle import Bundle
    from fauxface.session import Classifier

    model = Bundle.load(options["bundle"]).classifier_bytes(options["precision"])
    classifier = Classifier(model, provider="cpu")
    return Network(
        lambda crops: classifier.logits(np.asarray(crops)), ("fauxface", "onnxruntime"), classifier.threads
    )


def _opener(make: Callable[[dict[str, Any]], Network]) -> Opener:
    return lambda options: Classify(make(options), Path(options["crops"]))


OPENERS: dict[str, Opener] = {name: _opener(make) for name, make in {**PEERS, "fauxface": fauxface}.items()}

if __name__ == "__main__":
    serve(OPENERS)
