"""Measure what searching a smaller copy of a frame costs and loses, against a search of the whole frame.

Usage: python benchmarks/locator_sides.py CLIP ... [--side 640 960 1280] [--busy] [--out FILE]

Every frame is given to all sides in turn. What counts are the faces that are large enough for a verdict: one
of the whole frame's is found where a box of the copy overlaps it by an IoU of at least 0.5.
"""

from pathlib import Path
from typing import Any

import harness
from fauxface.bundle import Bundle
from fauxface.following import locate_frame
from fauxface.locator import Locator
from locator_policies import Find, compare, in_use, keep, options

REFERENCE = "whole frame"
_LARGEST = 8192


def measure(clip: Path, bundle: Bundle, sides: list[int], every: int) -> list[dict[str, Any]]:
    """Return a row per side, that of the whole frame first; see `locator_policies.compare`."""
    named = {REFERENCE: _LARGEST} | {f"{side} px": side for side in sides}
    policies = {name: _finder(bundle, side) for name, side in named.items()}
    return compare(clip, policies, every, bundle.manifest.crop.min_face_px)


def _finder(bundle: Bundle, side: int) -> Find:
    spec = bundle.manifest.locator
    locator = Locator(in_use(bundle), spec.score_threshold, spec.nms_threshold, side)
    return lambda frame: locate_frame(locator, frame)


def main() -> None:
    """Measure, print, write the JSON."""
    parser = options(__doc__, "locator_sides", every=6)
    parser.add_argument("--side", type=harness.positive, nargs="+", default=[640, 960, 1280])
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    keep(arguments, lambda clip: measure(clip, bundle, arguments.side, arguments.every))


if __name__ == "__main__":
    harness.run(main)
