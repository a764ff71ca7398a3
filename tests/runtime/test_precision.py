import sys
from pathlib import Path

import numpy as np
import pytest

from fauxface import precision, session
from fauxface.bundle import Bundle
from fauxface.errors import BundleError, ProviderError
from fauxface.precision import choose, int8_instructions, locator_beside, open_classifier

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"
GRAY = np.full((1, 128, 128, 3), 128, np.uint8)
GENERATED_LOGIT = {"fp32": -1, "int8": -2, "fp16": -3}


def cpuinfo(*cores, key="flags"):
    return "\n\n".join(f"processor\t: {i}\nmodel name\t: A\n{key}\t\t: {f}\n" for i, f in enumerate(cores))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (cpuinfo("fpu avx2 avx512f avx512_vnni", "fpu avx2 avx512f avx512_vnni"), "avx512_vnni"),
        (cpuinfo("fpu avx2 avx_vnni"), "avx_vnni"),
        (cpuinfo("fpu avx2 avx512f"), None),
        (cpuinfo("fpu avx512_vnni_not_really"), None),
        (cpuinfo("fp asimd asimddp", key="Features"), "asimddp"),
        (cpuinfo("fp asimd", key="Features"), None),
        (cpuinfo("fp asimd asimddp", "fp asimd", key="Features"), None),
        ("processor\t: 0\n", None),
        ("", None),
        ("\xff\xfe", None),
    ],
    ids=[
        "avx512",
        "avx",
        "avx2 only",
        "longer word",
        "arm",
        "old arm",
        "mixed",
        "no flags",
        "empty",
        "noise",
    ],
)
def test_instructions(text, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert int8_instructions(8, path) == expected
    narrow = "avx2" if expected is None and "avx2" in text else expected
    assert int8_instructions(7, path) == narrow


def test_instructions_where_the_system_does_not_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert int8_instructions(7, tmp_path / "nowhere") is None
    monkeypatch.setattr(sys, "platform", "darwin")
    for machine, expected in (("arm64", "asimddp"), ("x86_64", None)):
        monkeypatch.setattr(precision.platform, "machine", lambda machine=machine: machine)
        assert int8_instructions() == expected


ALL = ("fp32", "fp16", "int8")


@pytest.mark.parametrize(
    ("available", "provider", "cpu", "asked", "expected"),
    [
        (ALL, "cpu", "avx512_vnni", "auto", "int8"),
        (ALL, "cpu", None, "auto", "fp32"),
        (("fp32",), "cpu", "avx512_vnni", "auto", "fp32"),
        (("fp32", "fp16"), "cpu", "avx512_vnni", "auto", "fp32"),
        (ALL, "cuda", "avx512_vnni", "auto", "fp16"),
        (ALL, "tensorrt", None, "auto", "fp16"),
        (("fp32", "int8"), "cuda", "avx512_vnni", "auto", "fp32"),
        (ALL, "openvino", "avx512_vnni", "auto", "fp32"),
        (ALL, "cpu", None, "int8", "int8"),
        (ALL, "cpu", "avx512_vnni", "fp32", "fp32"),
        (ALL, "cuda", None, "int8", "int8"),
    ],
)
def test_choice(monkeypatch, available, provider, cpu, asked, expected):
    monkeypatch.setattr(precision, "int8_instructions", {8: cpu, 7: cpu or "avx2"}.get)
    assert choose(available, provider, asked) == expected


@pytest.mark.parametrize(
    ("file", "classifier", "cpu", "expected"),
    [
        ("locator.int8.onnx", "int8", "avx512_vnni", "int8"),
        ("locator.int8.onnx", "int8", None, "fp32"),
        ("locator.int8.onnx", "fp32", "avx512_vnni", "fp32"),
        ("locator.int8.onnx", "fp16", "avx512_vnni", "fp32"),
        (None, "int8", "avx512_vnni", "fp32"),
    ],
)
def test_the_locator_goes_with_the_classifier(
    file, classifier, cpu, expected, with_int8_locator, monkeypatch
):
    # Its weights have all their bits, so instructions that would overflow don't do.
    monkeypatch.setattr(precision, "int8_instructions", lambda bits=8: cpu if bits == 8 else "avx2")
    bundle = Bundle.load(TINY if file is None else with_int8_locator)
    assert locator_beside(bundle, classifier) == bundle.locator_bytes(expected)


def test_narrow_weights_run_where_wide_ones_would_overflow(monkeypatch):
    monkeypatch.setattr(precision, "int8_instructions", {8: None, 7: "avx2"}.get)
    assert [choose(ALL, "cpu", weight_bits=bits) for bits in (7, 8)] == ["int8", "fp32"]
    assert choose(ALL, "openvino", weight_bits=7) == "fp32"


@pytest.mark.parametrize("name", ["", "INT8", "int4", "auto "])
def test_unknown_precisions(name, variant_bundle):
    bundle = Bundle.load(variant_bundle)
    for call in (lambda: choose(ALL, "cpu", name), lambda: open_classifier(bundle, precision=name)):
        with pytest.raises(ProviderError, match="choose one of auto, fp32, fp16, int8") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("asked", GENERATED_LOGIT)
def test_the_classifier_asked_for_runs(asked, variant_bundle):
    classifier, in_use = open_classifier(Bundle.load(variant_bundle), provider="cpu", precision=asked)
    assert in_use == asked
    assert classifier.provider == "cpu"
    np.testing.assert_allclose(classifier.logits(GRAY)[0, 1], GENERATED_LOGIT[asked], atol=1e-5)


@pytest.mark.parametrize(("instructions", "expected"), [("asimddp", "int8"), (None, "fp32")])
def test_auto_runs_what_fits_the_cpu(instructions, expected, variant_bundle, monkeypatch):
    monkeypatch.setattr(precision, "int8_instructions", {8: instructions}.get)
    classifier, in_use = open_classifier(Bundle.load(variant_bundle), provider="cpu")
    assert in_use == expected
    np.testing.assert_allclose(classifier.logits(GRAY)[0, 1], GENERATED_LOGIT[expected], atol=1e-5)


def test_auto_tries_each_provider_with_the_precision_that_fits_it(variant_bundle, monkeypatch):
    tried = []

    class Picky(session.Classifier):
        def __init__(self, model_bytes, *, provider, threads, precision):
            tried.append((provider, precision))
            if provider == "cuda":
                raise ProviderError("the provider cuda can't be used: there is no NVIDIA driver")
            super().__init__(model_bytes, provider=provider, threads=threads, precision=precision)

    monkeypatch.setattr(precision, "Classifier", Picky)
    monkeypatch.setattr(precision, "auto_providers", lambda: ("cuda", "cpu"))
    monkeypatch.setattr(precision, "int8_instructions", lambda _: "avx_vnni")
    classifier, in_use = open_classifier(Bundle.load(variant_bundle))
    assert (classifier.provider, in_use) == ("cpu", "int8")
    assert tried == [("cuda", "fp16"), ("cpu", "int8")]
    with pytest.raises(ProviderError, match="no NVIDIA driver"):
        open_classifier(Bundle.load(variant_bundle), provider="cuda")


@pytest.mark.parametrize(
    ("instructions", "asked", "expected"),
    [
        ("avx_vnni", "auto", [("cuda", "fp16"), ("cpu", "int8")]),
        (None, "int8", [("cuda", "int8"), ("cpu", "int8")]),
        (None, "auto", [("cuda", "fp16"), ("openvino", "fp32"), ("cpu", "fp32")]),
        ("avx_vnni", "fp32", [("cuda", "fp32"), ("openvino", "fp32"), ("cpu", "fp32")]),
    ],
)
def test_auto_prefers_int8_to_openvino(instructions, asked, expected, variant_bundle, monkeypatch):
    tried = []

    def nowhere(_, *, provider, threads, precision):
        tried.append((provider, precision))
        raise ProviderError(f"the provider {provider} can't be used")

    monkeypatch.setattr(precision, "Classifier", nowhere)
    monkeypatch.setattr(precision, "auto_providers", lambda: ("cuda", "openvino", "cpu"))
    monkeypatch.setattr(precision, "int8_instructions", lambda _: instructions)
    with pytest.raises(ProviderError, match="cpu can't be used"):
        open_classifier(Bundle.load(variant_bundle), precision=asked)
    assert tried == expected


def test_a_precision_that_the_bundle_lacks():
    with pytest.raises(BundleError, match="no int8 classifier; it has fp32") as caught:
        open_classifier(Bundle.load(TINY), provider="cpu", precision="int8")
    assert "\n" not in str(caught.value)
