import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("fauxface", deadline=None, derandomize=True)  # the same examples on any machine
settings.load_profile("fauxface")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several test processes share the cores; set before any numerical library starts its threads.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

DATA = Path(__file__).parent / "data"


@pytest.fixture
def variant_bundle(tmp_path):
    """The tiny bundle with classifiers that stand for int8 and fp16; int8 has an operating point of its own.

    Their logits are those of fp32 moved by -1 and -2 for "generated", and by 1 and 2 for "bona fide".
    """
    import numpy as np

    from fauxface.bundle import Bundle, write_manifest

    folder = tmp_path / "variants"
    shutil.copytree(DATA / "tiny_bundle", folder)
    tiny = Bundle.load(folder)
    crops, logits = tiny.golden()
    moved = {"int8": logits + np.float32([1, -1]), "fp16": logits + np.float32([2, -2])}
    for precision in moved:
        shutil.copy(DATA / "variants" / f"classifier.{precision}.onnx", folder)
    np.savez(
        folder / "golden.npz",
        crops=crops,
        logits=logits,
        **{f"logits_{precision}": values for precision, values in moved.items()},
    )
    document = tiny.document()
    del document["version"]
    document["classifier"] |= {precision: f"classifier.{precision}.onnx" for precision in moved}
    document["operating_points"] = {
        "int8": {
            "calibration": {"temperature": 2.0, "bias": 0.5, "fitted_on": "nothing"},
            "thresholds": {"bona_fide_below": 0.2, "generated_from": 0.8, "rule": "chosen by hand for int8"},
        }
    }
    document["variants"] = {"int8": {"test": {"auroc_loss": 0.0012, "flips": 0.0034}}}
    write_manifest(folder, document)
    return folder


@pytest.fixture
def with_int8_locator(variant_bundle):
    """`variant_bundle` with another file for the locator in int8, which finds the same."""
    from fauxface.bundle import Bundle, write_manifest

    locator = (variant_bundle / "locator.onnx").read_bytes()
    (variant_bundle / "locator.int8.onnx").write_bytes(locator + b"\x1a\x04int8")  # the producer's version
    document = Bundle.load(variant_bundle).document()
    document["locator"]["int8"] = "locator.int8.onnx"
    del document["version"]
    write_manifest(variant_bundle, document)
    return variant_bundle
