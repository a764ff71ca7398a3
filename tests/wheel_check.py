"""Fail unless the wheel carries a whole default bundle and stays below 70 MB."""

import sys
import zipfile
from pathlib import Path

LIMIT = 70_000_000
NEEDED = (
    "bundle.json",
    "classifier.onnx",
    "classifier.int8.onnx",
    "locator.onnx",
    "golden.npz",
    "MODEL_CARD.md",
    "LICENSE-WEIGHTS.md",
)


def main() -> int:
    wheel = Path(sys.argv[1])
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = [n for n in NEEDED if f"fauxface/default_bundle/{n}" not in names]
    size = wheel.stat().st_size
    sys.stdout.write(f"{wheel.name}: {size / 1e6:.1f} MB; missing: {missing}\n")
    return 1 if missing or size >= LIMIT else 0


if __name__ == "__main__":
    raise SystemExit(main())
