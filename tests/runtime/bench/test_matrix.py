import dataclasses
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fauxface import precision
from fauxface.bench import matrix
from fauxface.bench.configurations import Configuration, compare_golden
from fauxface.bench.matrix import Matrix, open_matrix
from fauxface.bundle import Bundle
from fauxface.errors import BundleError, ProviderError

TINY = Path(__file__).parents[2] / "data" / "tiny_bundle"


@pytest.fixture
def bundle():
    return Bundle.load(TINY)


def changed(folder, files, **fields):
    """Copy the tiny bundle with other files and manifest fields."""
    shutil.copytree(TINY, folder)
    document = json.loads((folder / "bundle.json").read_text())
    for name, data in files.items():
        (folder / name).write_bytes(data)
        document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / "bundle.json").write_text(json.dumps(document | fields))
    return Bundle.load(folder)


def golden(crops, logits):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, crops=crops, logits=logits.astype(np.float32))
    return buffer.getvalue()


def test_every_combination_is_opened_and_none_twice(bundle):
    found, refused = open_matrix(bundle, Matrix(("auto", "cpu", "cpu"), ("fp32",), (1, 2, 1)))
    assert [contender.configuration for contender in found] == [
        Configuration("cpu", "fp32", 1),
        Configuration("cpu", "fp32", 2),
    ]
    assert [contender.accepted.asked for contender in found] == ["auto", "auto"]
    assert found[0].accepted.accuracy.crops == 8
    assert found[0].accepted.accuracy.max_difference <= 1e-5
    assert refused == []


def test_auto_opens_what_a_scan_with_auto_opens(variant_bundle, monkeypatch):
    """Which leaves OpenVINO out where the CPU runs int8."""
    asked = []

    def opened(model, *, provider, **options):
        asked.append((options["precision"], provider))
        return real_classifier(model, provider="cpu", **options)

    monkeypatch.setattr(precision, "auto_providers", lambda: ("openvino", "cpu"))
    monkeypatch.setattr(precision, "Classifier", opened)
    found, _ = open_matrix(Bundle.load(variant_bundle), Matrix(("auto",), ("fp32", "int8"), (1,)))
    assert asked == [("fp32", "openvino"), ("int8", "cpu")]
    assert [contender.accepted.asked for contender in found] == ["auto", "auto"]


def test_a_bundle_with_variants_offers_them_all(variant_bundle):
    found, refused = open_matrix(Bundle.load(variant_bundle), Matrix(("cpu",), (), (1,)))
    assert [contender.configuration.precision for contender in found] == ["fp32", "fp16", "int8"]
    assert refused == []


def test_a_configuration_that_judges_otherwise_is_refused_with_the_reason(bundle, tmp_path):
    crops, logits = bundle.golden()
    wrong = changed(tmp_path / "b", {"golden.npz": golden(crops, -logits)})
    found, (refusal,) = open_matrix(wrong, Matrix(("cpu",), (), (1,)))
    assert found == []
    assert (refusal.kind, refusal.provider, refusal.precision, refusal.threads) == (
        "accuracy",
        "cpu",
        "fp32",
        1,
    )
    assert "logits differ by up to" in refusal.reason
    assert "of 8 labels changed" in refusal.reason


def test_a_variant_that_can_not_be_loaded_is_refused_and_the_others_run(tmp_path):
    attack = (TINY.parent / "attacks" / "three_labels.onnx").read_bytes()
    both = changed(
        tmp_path / "b",
        {"int8.onnx": attack},
        classifier={"fp32": "classifier.onnx", "int8": "int8.onnx"},
    )
    found, (refusal,) = open_matrix(both, Matrix(("cpu",), (), (1,)))
    assert [contender.configuration.precision for contender in found] == ["fp32"]
    assert (refusal.kind, refusal.precision) == ("model", "int8")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"providers": ("abacus",)}, ProviderError, "unknown provider 'abacus'; choose one of auto, cpu"),
        (
            {"precisions": ("int3",)},
            ProviderError,
            "unknown precision 'int3'; choose one of fp32, fp16",
        ),
        ({"threads": (0,)}, ProviderError, "threads must be 1 to 1024, not 0"),
        ({"threads": (1, -1)}, ProviderError, "threads must be 1 to 1024, not -1"),
    ],
)
def test_bad_input_is_refused_at_once(options, error, message):
    with pytest.raises(error, match=message):
        Matrix(**options)


def test_a_missing_variant_and_a_missing_provider_are_errors_when_they_are_named(bundle, monkeypatch):
    with pytest.raises(BundleError, match="no int8 classifier; it has fp32"):
        open_matrix(bundle, Matrix(("cpu",), ("fp32", "int8"), (1,)))
    monkeypatch.setattr(precision, "Classifier", missing_cuda)
    with pytest.raises(ProviderError, match="no NVIDIA driver"):
        open_matrix(bundle, Matrix(("cpu", "cuda"), (), (1,)))


class FakeRuntime:
    @staticmethod
    def get_available_providers():
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


real_classifier = precision.Classifier


def missing_cuda(model, *, provider, **options):
    if provider == "cuda":
        raise ProviderError("there is no NVIDIA driver")
    return real_classifier(model, provider=provider, **options)


def test_a_classifier_knows_its_precision(variant_bundle, monkeypatch):
    """TensorRT's options and its engine's name depend on it."""
    seen = []

    def opened(model, **options):
        seen.append(options["precision"])
        return real_classifier(model, **options)

    monkeypatch.setattr(precision, "Classifier", opened)
    open_matrix(Bundle.load(variant_bundle), Matrix(("cpu",), ("fp32", "int8"), (1,)))
    assert seen == ["fp32", "int8"]


def test_what_nobody_asked_for_may_be_missing(bundle, monkeypatch):
    monkeypatch.setattr(matrix, "import_onnxruntime", FakeRuntime)
    monkeypatch.setattr(precision, "Classifier", missing_cuda)
    found, (refusal,) = open_matrix(bundle, Matrix(threads=(1,)))
    assert [str(contender.configuration) for contender in found] == ["cpu fp32 1t"]
    assert (refusal.provider, refusal.kind, refusal.reason) == (
        "cuda",
        "unavailable",
        "there is no NVIDIA driver",
    )


@pytest.mark.parametrize("named", [(), ("cuda",)])
def test_a_precision_that_a_provider_refuses_leaves_the_others(variant_bundle, monkeypatch, named):
    """As a GPU may, whose library takes no part of an int8 model."""

    def no_bytes(model, *, provider, **options):
        if provider == "cuda" and options["precision"] == "int8":
            raise ProviderError("it takes no part of this model")
        opened = real_classifier(model, provider="cpu", **options)
        opened.provider = provider
        return opened

    monkeypatch.setattr(matrix, "import_onnxruntime", FakeRuntime)
    monkeypatch.setattr(precision, "Classifier", no_bytes)
    found, (refusal,) = open_matrix(Bundle.load(variant_bundle), Matrix(named, ("int8", "fp32"), (1,)))
    assert "cuda fp32 1t" in [str(contender.configuration) for contender in found]
    assert (refusal.provider, refusal.precision, refusal.kind) == ("cuda", "int8", "model")
    assert refusal.reason == "it takes no part of this model"


# With the tiny bundle's thresholds 0.3 and 0.7 and no calibration, the label depends on the difference alone.
BONA_FIDE, UNSURE, GENERATED = [2.0, -2.0], [0.0, 0.0], [-2.0, 2.0]


@pytest.mark.parametrize(
    ("precision", "actual", "passed"),
    [
        ("fp32", [[2.0, -2.0]], True),
        ("fp32", [[2.0009, -2.0]], True),
        ("fp32", [[2.002, -2.0]], False),
        ("fp16", [[2.029, -2.0]], True),
        ("fp16", [[2.031, -2.0]], False),
        ("int8", [[2.04, -2.04]], True),
        ("int8", [[2.06, -2.0]], False),
    ],
)
def test_logits_must_be_within_the_precision_s_tolerance(bundle, precision, actual, passed):
    assert (
        compare_golden(bundle.manifest, precision, np.float32([BONA_FIDE]), np.float32(actual)).passed
        == passed
    )


@pytest.mark.parametrize(
    ("precision", "before", "after", "passed"),
    [
        ("fp32", 0.4236, 0.4237, False),
        ("int8", 0.40, 0.45, True),
        ("int8", -0.40, -0.45, True),
    ],
    ids=["fp32: no label may change", "int8: one of ten may become generated", "or bona fide"],
)
def test_labels_next_to_a_threshold(bundle, precision, before, after, passed):
    expected = np.float32([[-before, before]] + [BONA_FIDE] * 9)
    actual = np.float32([[-after, after]] + [BONA_FIDE] * 9)
    accuracy = compare_golden(bundle.manifest, precision, expected, actual)
    assert (accuracy.changed_labels, accuracy.reversed_labels) == (1, 0)
    assert accuracy.passed == passed


def test_int8_may_neither_change_two_of_ten_labels_nor_reverse_one(bundle):
    expected = np.float32([[-0.4, 0.4]] * 2 + [BONA_FIDE] * 8)
    two = compare_golden(bundle.manifest, "int8", expected, expected + np.float32([[-0.1, 0.1]]))
    assert (two.changed_labels, two.allowed_changes, two.passed) == (2, 1, False)
    narrow = dataclasses.replace(bundle.manifest.thresholds, bona_fide_below=0.5, generated_from=0.5)
    bundle.manifest = dataclasses.replace(bundle.manifest, thresholds=narrow)
    one = compare_golden(bundle.manifest, "int8", np.float32([[0.1, -0.1]]), np.float32([[-0.1, 0.1]]))
    assert (one.reversed_labels, one.passed) == (1, False)


def test_one_percent_of_many_crops_may_change(bundle):
    expected = np.float32([[-0.4, 0.4]] * 3 + [BONA_FIDE] * 147)
    for moved, passed in ((2, True), (3, False)):
        actual = expected.copy()
        actual[:moved] += np.float32([-0.03, 0.03])
        found = compare_golden(bundle.manifest, "int8", expected, actual)
        assert (found.changed_labels, found.allowed_changes, found.passed) == (moved, 2, passed)
