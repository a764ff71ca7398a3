"""Time one face from its box in a decoded picture to the verdict: crop, preprocess, classify, calibrate.

Usage: python benchmarks/face_to_verdict.py [--rounds 20] [--seconds 0.3] [--skip NAME]... [--out FILE]

The faces are those that the bundle's locator finds in the demo's pictures, placed in frames of 1280 x 720.
"""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

import harness
import peers
import start
import weights
from fauxface import images
from fauxface.bundle import Bundle
from fauxface.demo import collect_pictures
from fauxface.errors import GateError
from fauxface.locator import Locator
from harness import Row, Turn
from plots import bars

FRAME = (1280, 720)
CASE = "batch 1"
EQUAL_LABELS = 0.5
"""Least share of equal labels: preprocessing differs by design, but who judges otherwise is miswired."""
OWN_NEAR, PEERS_NEAR = 0.25, 0.4
"""Most RMS over the faces by which the log-odds of fauxface's other precisions and of peers may differ.

int8's is 0.11, that of peers, most of which resize with PIL, 0.05. With red and blue exchanged, the crop
mirrored, or its margin 1.1 in place of 1.0, it is 0.7; with other faces or constant answers, above 1.5.
"""


def frames(pictures: list[Path]) -> list[np.ndarray]:
    """Return each picture in the middle of a gray frame, uint8 [720, 1280, 3] RGB."""
    made = []
    for path in pictures:
        picture = images.read(path)
        scale = min(1.0 if picture.shape[0] > 360 else 2.0, 700 / picture.shape[0], 1200 / picture.shape[1])
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(picture, size, interpolation=kernel)
        frame = np.full((FRAME[1], FRAME[0], 3), 96, np.uint8)
        top, left = (FRAME[1] - size[1]) // 2, (FRAME[0] - size[0]) // 2
        frame[top : top + size[1], left : left + size[0]] = small
        made.append(frame)
    return made


def save_faces(bundle: Bundle, path: Path) -> int:
    """Write the frames and the box of the largest face in each; return how many there are.

    Raises:
        GateError: No face was found.
        MissingExtraError: The packages that carry the demo's photographs aren't installed.
    """
    locator = Locator.from_spec(bundle.locator_bytes(), bundle.manifest.locator)
    with TemporaryDirectory() as folder:
        shown = frames(collect_pictures(Path(folder)))
    found = [(frame, places[0].box) for frame in shown if (places := locator.locate(frame))]
    if not found:
        raise GateError("the bundle's locator finds no face in the demo's pictures; use another bundle")
    arrays = {f"image{i}": frame for i, (frame, _) in enumerate(found)}
    np.savez(path, boxes=np.array([box for _, box in found]), **arrays)  # pyright: ignore[reportArgumentType]
    return len(found)


def compare(answers: dict[str, list[dict[str, Any]]], reference: str) -> dict[str, Any]:
    """Compare every configuration's verdicts with the reference's.

    Args:
        answers: Verdicts of the same faces by configuration.
        reference: A configuration.

    Raises:
        GateError: A configuration judges most faces otherwise, or differs by more than its bound.
    """
    found = {}
    expected = answers[reference]
    for name, verdicts in answers.items():
        difference = max(abs(a["p"] - b["p"]) for a, b in zip(verdicts, expected, strict=True))
        rms = float(np.sqrt(np.mean((_log_odds(verdicts) - _log_odds(expected)) ** 2)))
        most = OWN_NEAR if name.startswith("fauxface") else PEERS_NEAR
        equal = float(np.mean([a["label"] == b["label"] for a, b in zip(verdicts, expected, strict=True)]))
        if not equal >= EQUAL_LABELS:
            raise GateError(f"{name} judges {1 - equal:.0%} of the faces otherwise than {reference}")
        if not rms <= most:
            raise GateError(f"{name} differs from {reference} by {rms:.3g} RMS in log-odds, above {most}")
        found[name] = {
            "max_probability_difference": round(difference, 4),
            "rms_log_odds_difference": round(rms, 4),
            "equal_labels": round(equal, 4),
        }
    return found


def _log_odds(verdicts: list[dict[str, Any]]) -> np.ndarray:
    p = np.clip([verdict["p"] for verdict in verdicts], 1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))


def claims(rows: list[Row]) -> list[dict[str, Any]]:
    """Return what the project claims, of the precision that fauxface uses on its own where it may."""
    int8 = harness.find(rows, "fauxface int8", CASE)
    best = "fauxface int8" if int8 else "fauxface fp32"
    text = f"face to verdict, {best} against the article's path"
    return harness.speed_claim(rows, text, (best, CASE), ("article", CASE), 5.0)


def main() -> None:
    """Measure, compare the verdicts, write JSON and plot."""
    arguments = harness.parser(__doc__, "face_to_verdict", rounds=20, seconds=0.3).parse_args()
    began = start.before(arguments)
    bundle = Bundle.load(arguments.bundle)
    with ExitStack() as stack:
        made = stack.enter_context(weights.files(bundle))
        faces = made.folder / "faces.npz"
        count = save_faces(bundle, faces)
        shared = {
            "weights": str(made.weights),
            "plain": str(made.plain),
            "faces": str(faces),
            "rule": weights.rule(bundle),
            "bundle": str(bundle.path),
        }
        compared = [*peers.own(bundle), *peers.NETWORKS]
        workers = peers.open_workers(stack, compared, "verdict.py", shared, arguments)
        for worker in workers.values():
            worker.ask("prepare", case=CASE, spec={})
        answers = {name: worker.ask("answer", case=CASE) for name, worker in workers.items()}
        agreement = compare(answers, next(iter(answers)))
        turns = [Turn(worker, CASE, arguments.seconds, least=count) for worker in workers.values()]
        rows = harness.measure(turns, arguments.rounds, busy=arguments.busy)
        content = harness.document(
            arguments,
            rows,
            versions=peers.versions(workers),
            began=began,
            unit="face",
            faces=count,
            reference=next(iter(answers)),
            ratios=harness.ratios_to(rows, "article"),
            claims=claims(rows),
            agreement=agreement,
        )
    harness.write(content, arguments.out)
    bars(content, arguments.out.with_suffix(".png"), "ms per face, from box to verdict")


if __name__ == "__main__":
    harness.run(main)
