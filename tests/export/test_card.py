import pytest

pytest.importorskip("torch")

from fauxface_export import card

MANIFEST = {
    "name": "test",
    "created": "2026-01-31T12:00:00Z",
    "labels": ["bona_fide", "generated"],
    "input": {"size": 128},
    "crop": {"margin": 1.2, "min_face_px": 40},
    "locator": {"score_threshold": 0.6, "max_side": 640},
    "calibration": {"temperature": 1.5, "bias": 0.25, "fitted_on": "val"},
    "thresholds": {"bona_fide_below": 0.3, "generated_from": 0.7, "rule": "by hand"},
    "provenance": {
        "architecture": "resnet18",
        "training": {"machine": {"cpu": "A Processor"}, "seconds": 12.5},
        "data": {
            "manifest_sha256": "ab" * 32,
            "train": {"real": {"camera": 40, "phone": 5}, "fake": {"gan": 30}},
            "val": {"real": {"camera": 4}, "fake": {}},
        },
    },
    "parity": {
        "reference": "eager",
        "limits": {"logit": 1e-4, "probability": 1e-5},
        "rows": [
            {
                "backend": "onnxruntime",
                "inputs": "real",
                "batch": 8,
                "crops": 66,
                "max_logit_difference": 3.25e-6,
                "max_probability_difference": 1e-7,
                "equal_decisions": 1.0,
            }
        ],
        "machine": {"cpu": "Another", "system": "Linux", "threads": 2, "packages": {"torch": "2.15.0"}},
    },
}


def metrics(split="test", **more):
    value = {"value": 0.875, "low": 0.8125, "high": 0.9375}
    return {
        "created": "2026-02-01T00:00:00Z",
        "data": {"name": "faces", "split": split},
        "overall": {"samples": 9, "bona_fide": 5, "generated": 4, "auroc": value},
        "sources": [
            {"source": "camera", "label": "bona_fide", "samples": 5, "bpcer": value},
            {"source": "gan", "label": "generated", "samples": 4, "apcer": {"value": 0.0}},
        ],
    } | more


def test_without_metrics_it_says_not_evaluated():
    text = card.render(MANIFEST, None)
    assert "**Not evaluated.**" in text
    assert "Known failures by source: not evaluated." in text


@pytest.mark.parametrize(
    "said",
    ["not presentation attack detection", "Injection detection", "accusing one", "a person review a verdict"],
)
@pytest.mark.parametrize("measured", [None, metrics()], ids=["not evaluated", "evaluated"])
def test_it_always_says_what_it_is_not_for(said, measured):
    assert said in card.render(MANIFEST, measured)


def test_figures_come_from_the_metrics():
    text = card.render(MANIFEST, metrics())
    assert "| AUROC | 0.8750 [0.8125, 0.9375] |" in text
    assert "camera: 0.8750 [0.8125, 0.9375] of its bona fide called generated." in text
    assert "gan: 0" not in text
    assert "9 pictures, 5 bona fide and 4 generated" in text
    assert "| onnxruntime | real | 8 | 66 | 3.2e-06 | 1e-07 | 100% |" in text
    assert "A Processor" in text


def test_a_source_without_terms_is_said_so():
    rows = [{"source": "camera", "label": "bona_fide", "origin": "own", "terms": "CC0"}]
    text = card.render(MANIFEST, None, rows)
    assert "| camera | real | 40 | 4 | own | CC0 |" in text
    assert "| phone | real | 5 | 0 | not stated | not stated |" in text
    assert "| gan | fake | 30 | 0 | not stated | not stated |" in text


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("train", "were trained on"),
        ("all", "trained on are among these"),
        ("val", "selected and calibrated on"),
    ],
)
def test_a_split_that_was_seen_is_said_so(split, said):
    assert said in card.render(MANIFEST, metrics(split))
    assert said not in card.render(MANIFEST, metrics("test"))


def test_names_can_neither_break_a_table_nor_start_a_tag():
    hostile = {"source": "a|b\n# c <script>", "label": "bona_fide", "samples": 1, "bpcer": {"value": 0.5}}
    text = card.render(MANIFEST, metrics(sources=[hostile]))
    assert "| a\\|b # c &lt;script> | bona_fide | 1 |" in text
    assert "<script>" not in text


def test_missing_parts_of_metrics_are_left_out():
    text = card.render(MANIFEST, {"overall": {}})
    assert "### By source" not in text
    assert "Not evaluated" not in text
