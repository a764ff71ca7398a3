"""A manifest and metrics that model cards are rendered of."""

MANIFEST = {
    "name": "test",
    "created": "2026-01-31T12:00:00Z",
    "labels": ["bona_fide", "generated"],
    "input": {"size": 128},
    "crop": {"margin": 1.2, "min_face_px": 40},
    "locator": {
        "file": "locator.onnx",
        "format": "yunet",
        "score_threshold": 0.6,
        "nms_threshold": 0.3,
        "max_side": 1280,
        "min_scale": 0.6,
    },
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
