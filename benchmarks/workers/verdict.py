"""Worker: from a face box in a decoded picture to the verdict: crop, preprocess, classify, calibrate.

Options: those of `networks`, "faces" (.npz), "rule"; for fauxface "bundle" and "scanner" (Scanner's options).
The .npz holds pictures `image0`, `image1`, ... (uint8 [H, W, 3] RGB) and `boxes` float [N, 4]. A run judges
one face; runs go through the faces in turn.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
from networks import PEERS, Network, cut, verdict
from serve import Opener, serve

Judge = Callable[[np.ndarray, Sequence[float]], dict[str, Any]]
"""Maps a picture and a face box to {"p": probability, "label": label}."""


class Verdicts:
    """Judges one face after the other."""

    def __init__(self, judge: Judge, packages: Sequence[str], threads: int | None, faces: str) -> None:
        self.packages, self.threads = packages, threads
        self._judge = judge
        with np.load(faces) as arrays:
            self._boxes = arrays["boxes"].tolist()
            self._images = [arrays[f"image{i}"] for i in range(len(self._boxes))]
        self._turns = count()

    def prepare(self, case: str, spec: dict[str, Any]) -> None:
        """Judge every face once, so that nothing is done for the first time when it is timed."""
        for _ in self._boxes:
            self.run(case)
        self._turns = count()

    def run(self, case: str) -> dict[str, Any]:
        """Judge the next face."""
        index = next(self._turns) % len(self._boxes)
        return self._judge(self._images[index], self._boxes[index])

    def units(self, outcome: dict[str, Any]) -> float:
        """Return one: a run judges one face."""
        return 1

    def answer(self, outcome: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the verdict of every face."""
        return [self._judge(image, box) for image, box in zip(self._images, self._boxes, strict=True)]


def peer(make: Callable[[dict[str, Any]], Network]) -> Opener:
    """Return the opener of a peer: cut with NumPy, the rest as its users write it."""

    def opened(options: dict[str, Any]) -> Verdicts:
        network, rule = make(options), options["rule"]

        def judge(image: np.ndarray, box: Sequence[float]) -> dict[str, Any]:
            return verdict(network.logits([cut(image, box, rule["margin"])])[0], rule)

        return Verdicts(judge, network.packages, network.threads, options["faces"])

    return opened


def fauxface(options: dict[str, Any]) -> Verdicts:
    """Open a Scanner whose locator already knows the box, so that all but locating is its own code."""
    from fauxface import Scanner
    from fauxface.locator import Location
    from fauxface.threads import available_cores

    class Known:
        """A locator that gives the box it was told."""

        def __init__(self) -> None:
            self.places: list[Location] = []

        def locate(self, image: np.ndarray) -> list[Location]:
            """Return the box."""
            return self.places

    known = Known()
    scanner = Scanner(options["bundle"], provider="cpu", locator=known, **options["scanner"])

    def judge(image: np.ndarray, box: Sequence[float]) -> dict[str, Any]:
        x, y, width, height = box
        known.places = [Location((x, y, width, height), landmarks(box), 1.0)]
        face = scanner.image(image).faces[0]
        return {"p": face.p_generated, "label": face.label, "reason": face.reason}

    return Verdicts(judge, ("fauxface", "onnxruntime"), available_cores(), options["faces"])


def landmarks(box: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Return the five points of a face that looks straight ahead: eyes, nose tip, mouth corners."""
    x, y, width, height = box
    places = ((0.31, 0.42), (0.69, 0.42), (0.5, 0.62), (0.35, 0.8), (0.65, 0.8))
    return tuple((x + across * width, y + down * height) for across, down in places)


OPENERS: dict[str, Opener] = {**{name: peer(make) for name, make in PEERS.items()}, "fauxface": fauxface}

if __name__ == "__main__":
    serve(OPENERS)
