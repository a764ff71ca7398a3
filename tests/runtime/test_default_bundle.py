"""The bundle that the wheel carries."""

import re

import numpy as np
import pytest

from fauxface.bundle import DEFAULT_BUNDLE, Bundle
from fauxface.doctor import examine
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
