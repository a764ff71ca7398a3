"""Put another face locator into the default bundle, with the gates on pose that it gives; classifiers stay.

Its figures are of the locator before until it is evaluated, recorded and given its card again:
`fauxface evaluate`, record.py, card.py.

Usage: python train/default_model/locator.py RUN PREPARED
  RUN       folder of `fauxface locator train`
  PREPARED  data prepared with RUN/locator.onnx
"""

import hashlib
import json
import sys
from pathlib import Path

from fauxface.bundle import DEFAULT_BUNDLE, Bundle, write_manifest
from fauxface.errors import DataError
from fauxface.files import atomic_write
from fauxface.locator import Locator
from fauxface_export.quality_gates import pose
from fauxface_train.dataset import PreparedData
from fauxface_train.provenance import derivation


def replace(run: Path, prepared: PreparedData, folder: Path = DEFAULT_BUNDLE) -> Bundle:
    """Return a bundle after its locator was replaced in place.

    Raises:
        DataError: The data were prepared with another locator.
    """
    bundle, data = Bundle.load(folder), (run / "locator.onnx").read_bytes()
    if prepared.info.get("locator_sha256") != hashlib.sha256(data).hexdigest():
        raise DataError(f"{prepared.root} was prepared with another locator; prepare it with {run}'s")
    spec, document = bundle.manifest.locator, bundle.document()
    locator = Locator(data, spec.score_threshold, spec.nms_threshold, spec.max_side, min_scale=spec.min_scale)
    document["gates"] = document.get("gates", {}) | pose(prepared, locator)
    made = json.loads((run / "locator.json").read_text(encoding="utf-8"))
    record = derivation(bundle, prepared) | {key: made[key] for key in ("command", "samples")}
    document["provenance"] = document.get("provenance", {}) | {"locator": record}
    del document["version"]
    with atomic_write(folder / spec.file) as temporary:
        temporary.write_bytes(data)
    write_manifest(folder, document)
    return Bundle.load(folder)


if __name__ == "__main__":
    made = replace(Path(sys.argv[1]), PreparedData.load(Path(sys.argv[2])))
    sys.stdout.write(f"{made.path}: model {made.sha256}\n")
