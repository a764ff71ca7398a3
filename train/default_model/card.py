"""Write the default bundle's model card, its licence, and the figures in its manifest, anew from the record.

How large a copy is searched for faces is set to what `fauxface export` writes.

Usage: python train/default_model/card.py [--failures FOLDER]
  FOLDER  generated pictures as make.sh gives them to `fauxface export --failures`, to be scanned anew
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from fauxface.bundle import Bundle, write_manifest
from fauxface.files import atomic_write
from fauxface.locator import MAX_SIDE, MIN_SCALE
from fauxface_export import card, failures, require
from fauxface_export.export import kept_figures
from fauxface_export.reading import read_metrics, read_terms

HERE = Path(__file__).parent
BUNDLE = HERE.parents[1] / "runtime" / "fauxface" / "default_bundle"


def recorded(bundle: Bundle, folder: str, precision: str) -> dict[str, Any]:
    """Return a recorded evaluation of the bundle, at the operating point of a precision.

    Raises:
        DataError: It can't be read, or is of another operating point.
    """
    point = bundle.manifest.operating_point(precision)
    digest = bundle.manifest.provenance["checkpoint_sha256"]
    path = HERE / "record" / folder / "metrics.json"
    return read_metrics(path, digest, point.calibration, point.thresholds)


def made(bundle: Bundle) -> tuple[dict[str, Any], str]:
    """Return the manifest's content and the card, both with the recorded figures.

    Raises:
        GateError: A precision's figures miss a requirement.
    """
    document, found = bundle.document(), recorded(bundle, "evaluation", "fp32")
    require.check(HERE / "require.toml", found)
    document["metrics"] = kept_figures(found)
    for precision, variant in document.get("variants", {}).items():
        own = recorded(bundle, "evaluation-bundle", precision)
        require.check(HERE / "require.toml", own)
        variant["metrics"] = {"overall": own["overall"]}
    del document["version"]
    document["locator"] |= {"max_side": MAX_SIDE, "min_scale": MIN_SCALE}
    return document, card.render(document, found, read_terms(HERE / "terms.csv"))


def renewed(bundle: Bundle, folder: Path | None) -> None:
    """Write the weights' licence, and what is found of pictures that may be shown, into the bundle's folder.

    Args:
        bundle: The bundle as it is.
        folder: The pictures; None: what was found of them stays.
    """
    document = bundle.document()
    shutil.copyfile(HERE / "LICENSE-WEIGHTS.md", BUNDLE / document["weights_license"])
    if folder is not None:
        target = BUNDLE / document["provenance"]["failures"]["file"]
        found = failures.collect(bundle, failures.pictures(folder), target)
        document["provenance"]["failures"] = {"model": bundle.sha256, **found}
    del document["version"]
    write_manifest(BUNDLE, document)


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--failures", type=Path)
    renewed(Bundle.load(BUNDLE), parser.parse_args().failures)
    bundle = Bundle.load(BUNDLE)
    document, text = made(bundle)
    with atomic_write(BUNDLE / bundle.manifest.card) as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_manifest(BUNDLE, document)
    sys.stdout.write(f"{BUNDLE}: model {Bundle.load(BUNDLE).sha256}\n")


if __name__ == "__main__":
    main()
