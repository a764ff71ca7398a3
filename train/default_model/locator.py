"""Put another face locator into the default bundle, and what a training would have decided with it.

The classifier stays; calibration, thresholds and gates are chosen anew by the rules of a training, on the
validation split that was cut with the locator. What follows is `fauxface quantise` for the other precisions,
`fauxface evaluate`, record.py and card.py; until then the bundle's other figures are of the locator before.

Usage: python train/default_model/locator.py RUN PREPARED
       python train/default_model/locator.py --int8 FILE
  RUN       folder of `fauxface locator train`
  PREPARED  data prepared with RUN/locator.onnx
  FILE      what `fauxface locator quantise` made of the bundle's locator; nothing else changes
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from fauxface.bundle import DEFAULT_BUNDLE, Bundle, write_manifest
from fauxface.errors import DataError
from fauxface.files import atomic_write
from fauxface.locator import Locator
from fauxface.session import Classifier
from fauxface_export.folder import LOCATOR_INT8
from fauxface_export.portable import portable
from fauxface_export.quality_gates import pose
from fauxface_export.reading import read_locator_int8
from fauxface_train import validation
from fauxface_train.dataset import PreparedData
from fauxface_train.decide import decide
from fauxface_train.provenance import derivation

BPCER, BATCH = 0.01, 128


def replace(run: Path, prepared: PreparedData, folder: Path = DEFAULT_BUNDLE) -> Bundle:
    """Return a bundle after its locator was replaced in place.

    Raises:
        DataError: The data were prepared with another locator, or have no validation split.
    """
    bundle, data = Bundle.load(folder), (run / "locator.onnx").read_bytes()
    if prepared.info.get("locator_sha256") != hashlib.sha256(data).hexdigest():
        raise DataError(f"{prepared.root} was prepared with another locator; prepare it with {run}'s")
    spec, document = bundle.manifest.locator, bundle.document()
    locator = Locator(data, spec.score_threshold, spec.nms_threshold, spec.max_side, min_scale=spec.min_scale)
    classifier = Classifier(bundle.classifier_bytes("fp32"), provider="cpu")

    def logits(crops: np.ndarray) -> np.ndarray:
        parts = range(0, len(crops), BATCH)
        return np.concatenate([classifier.logits(crops[start : start + BATCH]) for start in parts])

    decided, _ = decide(validation.prepare(prepared.samples(split="val"), None), logits, BPCER)
    document |= {name: decided[name] for name in ("calibration", "thresholds")}
    document["gates"] = decided["gates"] | pose(prepared, locator)
    made = json.loads((run / "locator.json").read_text(encoding="utf-8"))
    record = derivation(bundle, prepared) | portable({key: made[key] for key in ("command", "samples")})
    document["provenance"] = document.get("provenance", {}) | {"locator": record, "held": decided["held"]}
    del document["version"]
    if spec.int8 is not None:  # of the locator before
        del document["locator"]["int8"]
        (folder / spec.int8).unlink()
    with atomic_write(folder / spec.file) as temporary:
        temporary.write_bytes(data)
    write_manifest(folder, document)
    return Bundle.load(folder)


def add_int8(file: Path, folder: Path = DEFAULT_BUNDLE) -> Bundle:
    """Return a bundle after its locator in int8 was put beside it.

    Raises:
        DataError: The file was made from another locator.
    """
    bundle = Bundle.load(folder)
    data = read_locator_int8(file, bundle.locator_bytes())
    assert data is not None
    document = bundle.document()
    document["locator"]["int8"] = LOCATOR_INT8
    del document["version"]
    with atomic_write(folder / LOCATOR_INT8) as temporary:
        temporary.write_bytes(data)
    write_manifest(folder, document)
    return Bundle.load(folder)


if __name__ == "__main__":
    if sys.argv[1] == "--int8":
        made = add_int8(Path(sys.argv[2]))
    else:
        made = replace(Path(sys.argv[1]), PreparedData.load(Path(sys.argv[2])))
    sys.stdout.write(f"{made.path}: model {made.sha256}\n{made.manifest.thresholds.rule}\n")
