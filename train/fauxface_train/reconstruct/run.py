"""`fauxface data reconstruct`: from prepared data to generated training faces with the same content."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import fauxface
from fauxface.crops import Square
from fauxface.errors import CheckpointError, DataError, OutputError
from fauxface.files import usable_folder
from fauxface.progress import Progress
from fauxface_train import duplicates, provenance
from fauxface_train.checkpoint import writing
from fauxface_train.dataset import PreparedData, Sample, load_crop, load_stored, write_json, write_manifest
from fauxface_train.extraction import write_png
from fauxface_train.reconstruct import training
from fauxface_train.reconstruct.net import KINDS, Autoencoder

_FIT = 2000
_SMALLEST = 110
_QUALITY = (70, 98)
_BLOCK = 8  # of JPEG, in pixels


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is made.

    Attributes:
        count: Pictures of each kind of decoder.
        steps: Batches that each autoencoder is trained on.
        seed: Seed of weights, patches and choice of pictures.
    """

    count: int = 1000
    steps: int = 250
    seed: int = 0


def reconstruct(data: PreparedData, out: str | Path, plan: Plan) -> Path:
    """Write reconstructions of a data set's bona fide training faces as prepared data of one label.

    Each of `net.KINDS` becomes a source named `recon_KIND`. An interrupted run goes on with the decoders that
    are trained; a finished one is left as it is.

    Args:
        data: The prepared data.
        out: Folder for crops, manifest.csv, prepare.json and the autoencoders' weights.
        plan: What is made.

    Returns:
        Path of the manifest.

    Raises:
        DataError: The data have no bona fide picture in their train split.
        OutputError: `out` can't be written, or holds something else.
        CheckpointError: An autoencoder's weights in `out` are damaged.
    """
    samples = data.samples(split="train", label=0)
    if not samples:
        raise DataError(f"{data.root} has no bona fide pictures in its train split; prepare some")
    root = _claim(usable_folder(out), data, plan)
    if (root / "prepare.json").exists():
        return root / "manifest.csv"
    rng = np.random.default_rng([plan.seed, 5])
    chances = _chances(samples)
    fitted_on = [samples[i] for i in rng.choice(len(samples), min(_FIT, len(samples)), p=chances)]
    pictures: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    for number, kind in enumerate(KINDS):
        weights = root / f"{kind}.pt"
        if not weights.exists():
            pictures = pictures or [load_stored(sample) for sample in fitted_on]
            _fit(kind, pictures, plan, number, weights)
        net = _load(kind, weights)
        rng = np.random.default_rng([plan.seed, 7, number])
        picked = rng.choice(len(samples), plan.count, p=chances)
        with Progress(len(picked), f"reconstruct {kind}", "pictures") as progress:
            for index in picked:
                rows.append(_write(root, kind, net, samples[index], rng))
                progress.advance()
    unique = {row["crop"]: row for row in rows}
    write_manifest(root / "manifest.csv", [unique[name] for name in sorted(unique)])
    write_json(root / "prepare.json", _settings(data, plan) | _origin())
    return root / "manifest.csv"


def _fit(kind: str, pictures: Sequence[np.ndarray], plan: Plan, number: int, path: Path) -> None:
    """Train one autoencoder and write its weights."""
    with Progress(plan.steps, f"autoencoder {kind}", "steps") as progress:
        net = training.fit(
            kind, pictures, plan.steps, plan.seed + number, lambda text: progress.advance(note=text)
        )
    with writing(path) as temporary:
        torch.save(net.state_dict(), temporary)


def _load(kind: str, path: Path) -> Autoencoder:
    """Read one autoencoder's weights."""
    net = Autoencoder(kind)
    try:
        net.load_state_dict(torch.load(path, weights_only=True))
    except Exception as error:  # torch.load lets whatever the bytes provoke through
        raise CheckpointError(f"{path} is corrupt; remove it and run the command again") from error
    return net.eval()


def _write(
    root: Path, kind: str, net: Autoencoder, sample: Sample, rng: np.random.Generator
) -> dict[str, Any]:
    """Reconstruct one face at a drawn size, through JPEG as its original was; return its manifest row.

    The grid of JPEG's blocks lies anywhere, as that of a picture does in a crop of it.
    """
    stored = load_stored(sample)
    smallest = min(1.0, _SMALLEST / sample.square.side)
    scale = 1.0 if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(smallest), 0.0)))
    side = round(stored.shape[0] * scale)
    small = cv2.resize(stored, (side, side), interpolation=cv2.INTER_AREA) if scale < 1 else stored
    made = training.rebuilt(net, small)
    quality = int(rng.integers(_QUALITY[0], _QUALITY[1] + 1))
    above, left = (int(value) for value in rng.integers(0, _BLOCK, 2))
    canvas = cv2.copyMakeBorder(made[:, :, ::-1], above, 0, left, 0, cv2.BORDER_REFLECT_101)
    coded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    square = Square(
        *(round(value * scale) for value in (sample.square.x, sample.square.y, sample.square.side))
    )
    digest = hashlib.sha256(coded.tobytes()).hexdigest()
    source = f"recon_{kind}"
    name = f"crops/train/fake/{source}/{digest[:16]}.png"
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    write_png(root / name, cv2.cvtColor(decoded[above:, left:], cv2.COLOR_BGR2RGB))
    rebuilt = dataclasses.replace(
        sample, path=root / name, square=square, box=tuple(value * scale for value in sample.box)
    )
    values = dict(zip(("box_x", "box_y", "box_w", "box_h"), rebuilt.box, strict=True))
    return values | {
        "crop": name,
        "split": "train",
        "label": "fake",
        "source": source,
        "sha256": digest,
        "original": f"{source}:{sample.sha256[:16]}",
        "format": "JPEG",
        "width": max(1, round(sample.width * scale)),
        "height": max(1, round(sample.height * scale)),
        "locator_score": "" if sample.locator_score is None else sample.locator_score,
        "square_x": square.x,
        "square_y": square.y,
        "square_side": square.side,
        "age": "" if sample.age is None else sample.age,
        "gender": sample.gender or "",
        "race": sample.race or "",
        "dhash": f"{duplicates.difference_hash(cv2.cvtColor(load_crop(rebuilt), cv2.COLOR_RGB2GRAY)):016x}",
    }


def _chances(samples: Sequence[Sample]) -> np.ndarray:
    """Return each sample's chance to be drawn: sources by the square root of their size."""
    counts: dict[str, int] = {}
    for sample in samples:
        counts[sample.source] = counts.get(sample.source, 0) + 1
    raw = np.array([counts[sample.source] ** -0.5 for sample in samples])
    return raw / raw.sum()


def _settings(data: PreparedData, plan: Plan) -> dict[str, Any]:
    """Return what must not change between the runs that fill one folder."""
    kept = ("format", "faces", "crop", "room", "stored", "locator_sha256", "locator")
    facts = provenance.describe_data(data, data.samples(split="train", label=0), [])
    origin = {name: facts[name] for name in ("prepare_sha256", "manifest_sha256")}
    return {name: data.info[name] for name in kept if name in data.info} | {
        "reconstructed": origin | dataclasses.asdict(plan)
    }


def _origin() -> dict[str, Any]:
    return {
        "fauxface": fauxface.__version__,
        "versions": provenance.versions(),
        "machine": provenance.machine(),
    }


def _claim(root: Path, data: PreparedData, plan: Plan) -> Path:
    """Make the output folder ours, or check that it already is."""
    path, settings = root / "settings.json", _settings(data, plan)
    try:
        if path.exists():
            if json.loads(path.read_text(encoding="utf-8")) != settings:
                raise OutputError(
                    f"{root} holds reconstructions of other settings or data; choose another OUT"
                )
        elif root.is_dir() and any(root.iterdir()):
            raise OutputError(f"{root} holds other files; choose a new or empty folder")
    except (OSError, ValueError) as error:
        raise OutputError(f"can't use {root}: {error}; choose another OUT") from error
    write_json(path, settings)
    return root
