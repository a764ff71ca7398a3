"""Average a run's weights with those that it started from, and calibrate the mean as a training would.

Usage: python train/default_model/average.py PREPARED OUT RUN WEIGHTS
  PREPARED  the data that RUN was trained on
  OUT       folder to make, with a checkpoint like a run's best
  RUN       folder of a finished run; its settings and data are those of the mean
  WEIGHTS   what it started from: the folder of a run or of a bundle, or "shipped"
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from fauxface.bundle import Bundle
from fauxface.errors import DataError, OutputError
from fauxface.manifest import MANIFEST_NAME
from fauxface_train import checkpoint, provenance, training_set, validation
from fauxface_train.dataset import PreparedData, load_crop
from fauxface_train.decide import decide
from fauxface_train.model import Deployed, build
from fauxface_train.presets import Recipe
from fauxface_train.weights import initialise

FACES, BATCH = 512, 64


def train_faces(data: PreparedData, exclude: Sequence[str] = ()) -> np.ndarray:
    """Return nominal train crops, half of each label, shuffled: uint8 [N, 128, 128, 3] RGB."""
    samples, draw = training_set.chosen(data, "train", exclude), np.random.default_rng(0)
    labels = np.array([sample.label for sample in samples])
    halves = [draw.permutation(np.flatnonzero(labels == value))[: FACES // 2] for value in (0, 1)]
    return np.stack([load_crop(samples[i]) for i in draw.permutation(np.concatenate(halves))])


def mean(nets: Sequence[nn.Module], faces: np.ndarray) -> nn.Module:
    """Return a network with the mean of the given ones' weights, its batch norm measured anew.

    Source: Wortsman et al., "Model soups", 2022 (averaging); Izmailov et al., "Averaging weights leads to
    wider optima and better generalization", 2018 (statistics of batch norm for averaged weights).

    Args:
        nets: ResNet18s from `build`.
        faces: uint8 [N, 128, 128, 3] RGB; batch norm's mean and variance are means over batches of them.
    """
    states, net = [each.state_dict() for each in nets], build()
    state = {}
    for name, first in states[0].items():
        same = torch.stack([each[name] for each in states])
        state[name] = same.mean(0) if first.is_floating_point() else first
    net.load_state_dict(state)
    batches = [torch.from_numpy(faces[start : start + BATCH]) for start in range(0, len(faces), BATCH)]
    update_bn(batches, Deployed(net))
    return net.eval()


def known(weights: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return what is recorded of initial weights: the data that they were trained on, and the training."""
    path = Path(weights)
    if weights == "shipped" or (path / MANIFEST_NAME).is_file():
        info = Bundle.load(None if weights == "shipped" else path).manifest.provenance
        return info.get("data") or {}, info.get("training") or {}
    info = checkpoint.load(path).info
    return info.get("data") or {}, info.get("provenance") or {}


def cycles(training: Mapping[str, Any]) -> list[Any]:
    """Return the trainings that weights went through, the last one last, each in short."""
    told = ("command", "commit", "machine", "samples", "seconds")
    last = {key: training[key] for key in told if key in training}
    return [*training.get("before", ()), last]


def joined(run: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a run's data, with what further data the weights before it had seen.

    Raises:
        DataError: They were trained on other data, not on these and further ones.
    """
    if weights.get("manifest_sha256") != run["manifest_sha256"]:
        raise DataError(
            "both must have been trained on the same prepared data; only added folders may differ"
        )
    added = {each["manifest_sha256"]: each for part in (weights, run) for each in part.get("added", ())}
    train = {label: dict(weights["train"].get(label, {}), **run["train"][label]) for label in run["train"]}
    return {**run, **({"added": list(added.values())} if added else {}), "train": train}


def described(net: nn.Module, run: dict[str, Any], data: PreparedData, averaged: list[Any]) -> dict[str, Any]:
    """Return what a run's description says, of this network: calibrated and measured on val."""
    device, module = torch.device("cpu"), Deployed(net).eval()
    recipe = Recipe.from_dict(run["config"])
    val = validation.prepare(training_set.chosen(data, "val", recipe.exclude), recipe.usual_degradations)

    def score(crops: np.ndarray) -> np.ndarray:
        return validation.logits(module, crops, device)

    decided, scores = decide(val, score, recipe.bpcer)
    metrics: dict[str, Any] = dict(validation.measured(val, score))
    margin = scores[:, 1].astype(np.float64) - scores[:, 0]
    metrics["source_auroc"] = validation.per_source(margin, val.labels, val.sources)
    made = {"averaged": averaged, "averaged_by": provenance.command()}
    return run | decided | {"metrics": metrics, "provenance": run["provenance"] | made}


def main(prepared: Path, out: Path, run: Path, weights: str) -> None:
    """Write the mean, and say what it reaches on val.

    Raises:
        DataError: `prepared` isn't the data of the run, or the two were trained on different data.
        OutputError: `out` holds a checkpoint.
    """
    if (out / "best.safetensors").exists():
        raise OutputError(f"{out} holds a checkpoint already; choose another folder")
    data, later = PreparedData.load(prepared), checkpoint.load(run)
    if provenance.hashes(data.root)["manifest_sha256"] != later.info["data"]["manifest_sha256"]:
        raise DataError(f"{prepared} isn't the data that {run} was trained on")
    seen, trained = known(weights)
    told = {
        "data": joined(later.info["data"], seen),
        "provenance": later.info["provenance"] | {"before": cycles(trained)},
    }
    faces, earlier = train_faces(data, Recipe.from_dict(later.info["config"]).exclude), build()
    found = initialise(earlier, weights, lambda: faces)
    averaged = [
        {"kind": "run", "sha256": hashlib.sha256(later.path.read_bytes()).hexdigest()},
        {"kind": found.kind, "sha256": found.sha256},
    ]
    net = mean([later.net, earlier], faces)
    info = described(net, {**later.info, **told}, data, averaged)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.save(out / "best", net.state_dict(), info)
    for name, value in info["metrics"].items():
        if name != "source_auroc":
            sys.stdout.write(f"{name} {value:.4f}\n")


if __name__ == "__main__":
    prepared, out, run, weights = sys.argv[1:]
    main(Path(prepared), Path(out), Path(run), weights)
