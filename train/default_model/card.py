"""Write the default bundle's model card, and the figures in its manifest, anew from the recorded evaluation.

How large a copy is searched for faces is set to what `fauxface export` writes.

Usage: python train/default_model/card.py
"""

import sys
from pathlib import Path

from fauxface.bundle import DEFAULT_BUNDLE, Bundle, write_manifest
from fauxface.files import atomic_write
from fauxface.locator import MAX_SIDE, MIN_SCALE
from fauxface_export import card
from fauxface_export.export import kept_figures
from fauxface_export.reading import read_metrics, read_terms

HERE = Path(__file__).parent


def main() -> None:
    """Write both."""
    bundle = Bundle.load()
    document, point = bundle.document(), bundle.manifest.operating_point()
    digest = document["provenance"]["checkpoint_sha256"]
    found = read_metrics(
        HERE / "record" / "evaluation" / "metrics.json", digest, point.calibration, point.thresholds
    )
    document["metrics"] = kept_figures(found)
    del document["version"]
    document["locator"] |= {"max_side": MAX_SIDE, "min_scale": MIN_SCALE}
    with atomic_write(DEFAULT_BUNDLE / bundle.manifest.card) as temporary:
        temporary.write_text(card.render(document, found, read_terms(HERE / "terms.csv")), encoding="utf-8")
    write_manifest(DEFAULT_BUNDLE, document)
    sys.stdout.write(f"{DEFAULT_BUNDLE}: model {Bundle.load().sha256}\n")


if __name__ == "__main__":
    main()
