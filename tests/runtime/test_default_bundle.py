"""The bundle that the wheel carries."""

import hashlib
import re

import numpy as np
import pytest

from fauxface import images
from fauxface.bundle import DEFAULT_BUNDLE, Bundle
from fauxface.doctor import examine
from fauxface.locator import Locator
from fauxface.precision import int8_instructions
from fauxface.session import Classifier


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load()


def test_golden_crops_give_their_logits(bundle):
    crops, logits = bundle.golden()
    assert len(crops) >= 8
    found = Classifier(bundle.classifier_bytes(), provider="cpu").logits(crops)
    np.testing.assert_allclose(found, logits, atol=1e-3)
    calibration, thresholds = bundle.manifest.calibration, bundle.manifest.thresholds
    labels = [[thresholds.label(p) for p in calibration.probability(v)] for v in (found, logits)]
    assert labels[0] == labels[1]


def test_doctor_passes():
    report = examine(provider="cpu")
    assert report.failure is None
    assert report.golden.passed
    assert report.locator_runs


def test_parity_was_proven_for_every_backend(bundle):
    rows = bundle.manifest.parity["rows"]
    assert {row["backend"] for row in rows} >= {"torchscript", "pt2", "onnxruntime"}
    assert {row["batch"] for row in rows} == {1, 2, 8, 33}
    assert {"real", "random"} <= {row["inputs"] for row in rows}
    assert max(row["max_logit_difference"] for row in rows) <= 1e-4
    assert max(row["max_probability_difference"] for row in rows) <= 1e-5
    assert min(row["equal_decisions"] for row in rows) == 1


def test_card_says_what_matters(bundle):
    text = bundle.card()
    for wanted in (
        "non-commercial",
        "presentation attack",
        "injection",
        "utkface",
        "sg1_140k_zoya",
        "AUROC",
        "BPCER",
    ):
        assert re.search(re.escape(wanted), text, re.I), wanted


def test_nothing_names_a_folder_of_a_machine():
    for name in ("bundle.json", "MODEL_CARD.md", "LICENSE-WEIGHTS.md"):
        text = (DEFAULT_BUNDLE / name).read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w:/.])/(?:home|root|tmp|work|Users|mnt)/", text), name


def test_its_licence_names_every_file_that_is_no_text():
    licence = (DEFAULT_BUNDLE / "LICENSE-WEIGHTS.md").read_text(encoding="utf-8")
    names = {path.name for path in DEFAULT_BUNDLE.iterdir() if path.suffix not in {".md", ".json"}}
    assert {name for name in names if f"`{name}`" not in licence} == set()


def test_it_meets_the_bar_of_its_release(bundle):
    assert bundle.manifest.metrics["overall"]["auroc"]["value"] >= 0.985
    assert bundle.manifest.metrics["data"]["split"] == "test"


def test_its_int8_locator_is_made_from_its_locator(bundle):
    assert hashlib.sha256(bundle.locator_bytes()).hexdigest().encode() in bundle.locator_bytes("int8")


@pytest.mark.skipif(int8_instructions() is None, reason="int8 is never chosen on such a CPU")
def test_its_int8_locator_finds_the_same_faces(bundle):
    spec, found = bundle.manifest.locator, 0
    locators = [Locator.from_spec(bundle.locator_bytes(precision), spec) for precision in ("fp32", "int8")]
    for path in sorted((DEFAULT_BUNDLE.parent / "demo_media").glob("*.png")):
        one, other = (locator.locate(images.read(path)) for locator in locators)
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a.box, b.box, atol=0.1 * max(a.box[2:]))
            found += 1
    assert found >= 4


def test_what_the_docs_say_of_its_search(bundle):
    manifest = bundle.manifest
    assert (manifest.locator.max_side, manifest.locator.min_scale) == (1280, 0.6)
    assert manifest.crop.min_face_px == 40
