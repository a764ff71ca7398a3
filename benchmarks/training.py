"""Time training: the preset `robust`, the preset `article`, and the article's loop as its users write it.

Usage: python benchmarks/training.py [--data PREPARED] [--pictures 1024] [--rounds 6] [--seconds 6]

All three train ResNet18 from the shipped weights on the same pictures; the plain loop reads them as ready
128 px JPEGs, which spares it the cropping. What is measured is the sustained rate: the one-time decoding and
compiling of `robust` come before it. Without --data the pictures are the bundle's golden crops, many times
over; the rate depends on how many pixels there are, not on what they show.

"dense product" is no training: it does as many operations per picture as square matrix products of PyTorch,
in the precision of `robust`. It shows what these reach on the same cores; other kernels may reach more.
"""

import csv
import hashlib
import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import harness
import peers
import start
import weights
from fauxface.bundle import Bundle
from fauxface.crops import INPUT_SIZE
from fauxface.errors import DataError, GateError
from fauxface_train.dataset import COLUMNS, FOLDER_LABELS, FORMAT, PreparedData, load_crop
from harness import Row, Turn
from peers import Peer
from plots import bars

CASE = "sustained"
ROOM = 1.25
LOOP = "article loop"
PRODUCT = "dense product"
PASSES = 3
"""A step has three products for each of the forward pass: itself, and the gradients of inputs and weights.

The pictures themselves need no gradient, which is about a fiftieth of all.
"""

CONFIGURATIONS = (
    Peer(LOOP, "torch", LOOP),
    Peer("fauxface article", "", "fauxface", {"preset": "article"}),
    Peer("fauxface robust", "", "fauxface", {"preset": "robust"}),
    Peer(PRODUCT, "", PRODUCT),
)


def golden_data(crops: np.ndarray, out: Path, count: int) -> Path:
    """Write prepared data made of golden crops, alternately called real and fake.

    Args:
        crops: uint8 [K, 128, 128, 3] RGB.
        out: Folder to make.
        count: Number of pictures, at least 2.

    Returns:
        The folder, in the form that `fauxface data prepare` writes.
    """
    edge = round(INPUT_SIZE * (ROOM - 1) / 2)
    rows = []
    for number in range(count):
        label = FOLDER_LABELS[number % 2]
        path = out / "crops" / "train" / label / "golden" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.pad(crops[number % len(crops)], ((edge, edge), (edge, edge), (0, 0)), mode="reflect")
        cv2.imwrite(str(path), cv2.cvtColor(stored, cv2.COLOR_RGB2BGR))
        square = {"square_x": edge, "square_y": edge, "square_side": INPUT_SIZE}
        box = {"box_x": 0, "box_y": 0, "box_w": INPUT_SIZE, "box_h": INPUT_SIZE}
        size = {"width": INPUT_SIZE, "height": INPUT_SIZE}
        crop = {
            "crop": path.relative_to(out).as_posix(),
            "split": "train",
            "label": label,
            "source": "golden",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        rows.append(dict.fromkeys(COLUMNS, "") | crop | box | square | size)
    _write_manifest(out, rows, {"format": FORMAT, "crop": {"margin": 1.0}, "room": ROOM})
    return out


def subset(data: Path, out: Path, count: int) -> Path:
    """Write prepared data that lists `count` train pictures of other prepared data, half of each label.

    Raises:
        DataError: The data can't be read, or lack a label.
    """
    info = PreparedData.load(data).info
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    chosen = []
    for number, label in enumerate(FOLDER_LABELS):
        group = [row for row in rows if row["label"] == label]
        if not group:
            raise DataError(f"{data} has no {label} pictures in its train split; prepare some")
        picked = np.random.default_rng(number).permutation(len(group))[: max(1, count // 2)]
        chosen += [group[i] for i in picked]
    for row in chosen:
        target = out / row["crop"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((data / row["crop"]).resolve())
    _write_manifest(out, chosen, info)
    return out


def _write_manifest(out: Path, rows: list[dict[str, Any]], info: dict[str, Any]) -> None:
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list[str](COLUMNS), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    (out / "prepare.json").write_text(json.dumps(info), encoding="utf-8")


def plain_folder(prepared: Path, out: Path) -> Path:
    """Write the same crops as 128 px JPEGs of quality 95 into real/ and fake/, as ImageFolder reads them."""
    for number, sample in enumerate(PreparedData.load(prepared).samples(split="train")):
        path = out / FOLDER_LABELS[sample.label] / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = cv2.cvtColor(load_crop(sample), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return out


def check(name: str, answer: Any) -> dict[str, Any]:
    """Return what a configuration told of its training.

    Raises:
        GateError: Its loss isn't finite: it doesn't train.
    """
    found = answer if isinstance(answer, dict) else {"loss": answer}
    if not math.isfinite(found["loss"]):
        raise GateError(f"{name}: the loss is {found['loss']}; its rate would mean nothing")
    return {key: value for key, value in found.items() if key != "loss"}


def claims(rows: list[Row]) -> list[dict[str, Any]]:
    """Return what the project claims of training."""
    text = "training, images per second, preset robust against the article's loop"
    return harness.speed_claim(rows, text, ("fauxface robust", CASE), (LOOP, CASE), 5.0)


def main() -> None:
    """Measure, write JSON and plot."""
    parser = harness.parser(__doc__, "training", rounds=6, seconds=6.0)
    parser.add_argument("--data", type=Path, help="prepared data; the bundle's golden crops by default")
    parser.add_argument("--pictures", type=int, default=1024, help="pictures to train on [%(default)s]")
    arguments = parser.parse_args()
    began = start.before(arguments)
    if arguments.pictures < 64:
        raise DataError(f"--pictures must be at least 64, a batch of the preset, not {arguments.pictures}")
    bundle = Bundle.load(arguments.bundle)
    with ExitStack() as stack:
        made = stack.enter_context(weights.files(bundle))
        prepared = made.folder / "prepared"
        if arguments.data is None:
            golden_data(np.load(made.crops), prepared, arguments.pictures)
        else:
            subset(arguments.data, prepared, arguments.pictures)
        folder = plain_folder(prepared, made.folder / "folder")
        operations = PASSES * 2.0 * weights.multiply_adds(bundle.classifier_bytes("fp32"))
        shared = {
            "weights": str(made.weights),
            "data": str(prepared),
            "folder": str(folder),
            "operations": operations,
        }
        workers = peers.open_workers(stack, CONFIGURATIONS, "train.py", shared, arguments)
        for worker in workers.values():
            worker.ask("prepare", case=CASE, spec={})
        turns = [
            Turn(worker, CASE, arguments.seconds, lead=2, warm_up=4, statistic="mean")
            for worker in workers.values()
        ]
        rows = harness.measure(turns, arguments.rounds, busy=arguments.busy)
        settings = {name: check(name, worker.ask("answer", case=CASE)) for name, worker in workers.items()}
        content = harness.document(
            arguments,
            rows,
            versions=peers.versions(workers),
            began=began,
            unit="image",
            data="golden crops" if arguments.data is None else "prepared data",
            pictures=arguments.pictures,
            trained=settings,
            ratios=harness.ratios_to(rows, LOOP),
            claims=claims(rows),
        )
    harness.write(content, arguments.out)
    bars(content, arguments.out.with_suffix(".png"), "images per second", rate=True)


if __name__ == "__main__":
    harness.run(main)
