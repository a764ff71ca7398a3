import dataclasses
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fauxface import cli_bundle, doctor, precision, session
from fauxface.bench.configurations import GOLDEN_TOLERANCE, compare_golden
from fauxface.bundle import Bundle
from fauxface.doctor import built_with, examine
from fauxface.errors import BundleError, GateError, ProviderError
from fauxface.manifest import Manifest

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"


@pytest.fixture
def run():
    app = typer.Typer(pretty_exceptions_enable=False)
    cli_bundle.register(app)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def with_file(folder, name, data):
    """Copy the tiny bundle and replace one file, with a digest that fits."""
    shutil.copytree(TINY, folder)
    (folder / name).write_bytes(data)
    document = json.loads((folder / "bundle.json").read_text())
    document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / "bundle.json").write_text(json.dumps(document))
    return folder


def with_golden(folder, change):
    """Copy the tiny bundle and change its golden logits."""
    crops, logits = Bundle.load(TINY).golden()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, crops=crops, logits=change(logits).astype(np.float32))
    return with_file(folder, "golden.npz", buffer.getvalue())


def test_all_is_well():
    report = examine(TINY, "cpu")
    assert report.failure is None
    assert report.bundle.name == "tiny"
    assert report.bundle.sha256 == Bundle.load(TINY).sha256
    assert report.locator_runs
    assert report.golden.passed
    assert report.golden.crops == 8
    assert report.golden.max_difference <= 1e-5
    assert report.timing.provider == "cpu"
    assert report.timing.median_ms > 0
    assert report.environment.providers
    assert len(report.environment.distributions) <= 1


@pytest.mark.parametrize(
    ("shift", "passed"),
    [(0, True), (0.9, True), (1.1, False), (5000, False)],
)
@pytest.mark.parametrize("precision", GOLDEN_TOLERANCE)
def test_golden_tolerance(precision, shift, passed):
    bundle = Bundle.load(TINY)
    _, logits = bundle.golden()
    moved = shift * GOLDEN_TOLERANCE[precision]
    check = compare_golden(bundle.manifest, precision, logits, logits + np.float32([0, moved]))
    assert check.passed == passed
    assert check.max_difference == pytest.approx(moved, rel=1e-5, abs=1e-6)


def test_fp32_is_held_to_the_closest_tolerance():
    assert GOLDEN_TOLERANCE["fp32"] == 0.001
    assert GOLDEN_TOLERANCE["fp32"] < GOLDEN_TOLERANCE["fp16"] < GOLDEN_TOLERANCE["int8"]


def test_golden_labels_must_be_equal_even_within_the_tolerance():
    manifest = Bundle.load(TINY).manifest
    z = float(np.log(0.7 / 0.3))
    expected, actual = np.float32([[0, z + 1e-4]]), np.float32([[0, z - 1e-4]])
    check = compare_golden(manifest, "fp32", expected, actual)
    assert check.max_difference < GOLDEN_TOLERANCE["fp32"]
    assert (check.changed_labels, check.passed) == (1, False)
    check = compare_golden(manifest, "fp16", expected, actual)
    assert (check.changed_labels, check.passed) == (1, True)


def test_a_verdict_that_is_turned_round_fails_in_any_precision():
    document = json.loads((TINY / "bundle.json").read_text())
    document["thresholds"] |= {"bona_fide_below": 0.5, "generated_from": 0.5}
    manifest = Manifest.parse(json.dumps(document).encode())
    check = compare_golden(manifest, "int8", np.float32([[0, 1e-3]]), np.float32([[0, -1e-3]]))
    assert (check.changed_labels, check.reversed_labels, check.passed) == (1, 1, False)


@pytest.mark.parametrize("asked", ["fp32", "int8", "fp16"])
def test_the_variant_in_use_is_replayed(asked, variant_bundle):
    report = examine(variant_bundle, "cpu", precision=asked)
    assert report.failure is None
    assert report.bundle.precisions == ["fp32", "int8", "fp16"]
    assert (report.golden.precision, report.golden.tolerance) == (asked, GOLDEN_TOLERANCE[asked])
    assert report.golden.max_difference <= 1e-5
    assert report.timing.precision == asked


def test_a_locator_in_int8_is_tried_beside_such_a_classifier(with_int8_locator, monkeypatch):
    monkeypatch.setattr("fauxface.precision.int8_instructions", lambda bits=8: "avx512_vnni")
    assert examine(with_int8_locator, "cpu", precision="int8").locator_runs
    data = (with_int8_locator / "classifier.onnx").read_bytes()
    (with_int8_locator / "locator.int8.onnx").write_bytes(data)
    document = json.loads((with_int8_locator / "bundle.json").read_text())
    document["files"]["locator.int8.onnx"] = document["files"]["classifier.onnx"]
    (with_int8_locator / "bundle.json").write_text(json.dumps(document))
    assert examine(with_int8_locator, "cpu", precision="fp32").locator_runs
    report = examine(with_int8_locator, "cpu", precision="int8")
    assert not report.locator_runs
    assert "isn't in YuNet's format" in str(report.failure)


def test_a_locator_runs_where_the_classifier_cannot():
    report = examine(TINY, "cpu", precision="int8")
    assert report.locator_runs
    assert "no int8 classifier" in str(report.failure)


def test_a_variant_that_this_machine_computes_otherwise_fails(variant_bundle):
    data = (variant_bundle / "classifier.fp16.onnx").read_bytes()
    (variant_bundle / "classifier.int8.onnx").write_bytes(data)
    document = json.loads((variant_bundle / "bundle.json").read_text())
    document["files"]["classifier.int8.onnx"] = document["files"]["classifier.fp16.onnx"]
    (variant_bundle / "bundle.json").write_text(json.dumps(document))
    report = examine(variant_bundle, "cpu", precision="int8")
    assert isinstance(report.failure, GateError)
    assert "in int8" in str(report.failure)
    assert "--precision fp32" in str(report.failure)
    assert examine(variant_bundle, "cpu", precision="fp32").failure is None


def test_a_failed_replay_fails(tmp_path):
    report = examine(with_golden(tmp_path / "b", lambda logits: -logits), "cpu")
    assert isinstance(report.failure, GateError)
    assert not report.golden.passed
    assert report.timing is not None


def test_a_tampered_bundle_is_reported(tmp_path):
    shutil.copytree(TINY, tmp_path / "b")
    (tmp_path / "b" / "classifier.onnx").write_bytes(b"")
    report = examine(tmp_path / "b")
    assert isinstance(report.failure, BundleError)
    assert (report.bundle, report.golden, report.timing) == (None, None, None)


def test_a_locator_that_opencv_can_not_run_is_reported(tmp_path):
    report = examine(
        with_file(tmp_path / "b", "locator.onnx", (TINY / "classifier.onnx").read_bytes()), "cpu"
    )
    assert isinstance(report.failure, BundleError)
    assert report.bundle is not None
    assert not report.locator_runs


def test_a_missing_onnxruntime_is_reported(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    monkeypatch.setattr(session, "installed_distributions", dict)
    report = examine(TINY)
    assert isinstance(report.failure, ProviderError)
    assert report.environment.onnxruntime is None
    assert report.bundle is not None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("    FFMPEG:                      YES\n", True),
        ("    FFMPEG:                      YES (prebuilt)\n", True),
        ("    FFMPEG:                      NO\n", False),
        ("    FFMPEG_EXTRA:                YES\n", False),
        ("", False),
    ],
)
def test_built_with(line, expected):
    assert built_with(f"  Video I/O:\n{line}    v4l:  YES\n", "FFMPEG") == expected


def test_doctor_command(run):
    result = run("doctor", "--bundle", TINY, "--provider", "cpu")
    assert result.exit_code == 0
    for part in (
        "golden crops",
        "ok: 8 crops",
        "cpu,",
        "one inference",
        "all is well",
        "FFmpeg",
        "GStreamer",
    ):
        assert part in result.stdout


def test_doctor_command_as_json(run):
    result = run("doctor", "--bundle", TINY, "--provider", "cpu", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["schema"] == "fauxface.doctor/1"
    assert (report["ok"], report["error"]) == (True, None)
    assert report["golden"]["passed"] is True
    assert report["timing"]["provider"] == "cpu"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_doctor_command_fails_after_its_report(run, tmp_path, options):
    folder = with_golden(tmp_path / "b", lambda logits: logits + 1)
    result = run("doctor", "--bundle", folder, "--provider", "cpu", *options)
    assert isinstance(result.exception, GateError)
    assert result.exit_code != 0
    if options:
        report = json.loads(result.stdout)
        assert (report["ok"], report["error"]["type"]) == (False, "GateError")
    else:
        assert "FAILED: 8 crops" in result.stdout


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--provider", "abacus"], ProviderError),
        (["--threads", "0"], ProviderError),
        (["--precision", "int4"], ProviderError),
        (["--precision", "int8"], BundleError),
        (["--bundle", "nowhere"], BundleError),
    ],
)
def test_doctor_command_with_bad_input(run, options, error):
    arguments = options if "--bundle" in options else ["--bundle", TINY, *options]
    result = run("doctor", *arguments)
    assert isinstance(result.exception, error)
    assert "FAILED" in result.stdout


def test_info_command(run):
    result = run("info", TINY)
    assert result.exit_code == 0
    for part in ("tiny, format 1.0", Bundle.load(TINY).sha256, "generated from 0.7", "# tiny"):
        assert part in result.stdout


def test_doctor_and_info_show_variants(run, variant_bundle):
    result = run("doctor", "--bundle", variant_bundle, "--provider", "cpu", "--precision", "int8")
    assert result.exit_code == 0
    for part in ("fp32, int8, fp16", "8 crops in int8", "cpu, int8,", "allowed 0.05"):
        assert part in result.stdout
    result = run("info", variant_bundle)
    assert result.exit_code == 0
    for part in (
        "fp32, int8, fp16",
        "int8 operating point",
        "generated from 0.8",
        "chosen by hand for int8",
        "AUROC loss 0.0012, 0.34% of the decisions changed",
    ):
        assert part in result.stdout


def test_info_command_as_json(run):
    document = json.loads(run("info", TINY, "--json").stdout)
    assert document["model"] == Bundle.load(TINY).sha256
    assert document["thresholds"]["generated_from"] == 0.7


def test_info_as_json_shows_fields_of_later_releases(run, tmp_path):
    shutil.copytree(TINY, tmp_path / "bundle")
    document = json.loads((TINY / "bundle.json").read_text()) | {"later": {"kept": 1}, "model": "faked"}
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(document))
    shown = json.loads(run("info", tmp_path / "bundle", "--json").stdout)
    assert shown["later"] == {"kept": 1}
    assert shown["model"] == Bundle.load(tmp_path / "bundle").sha256


def test_info_of_nothing(run, tmp_path):
    assert isinstance(run("info", tmp_path).exception, BundleError)


def test_text_from_a_bundle_can_not_steer_the_terminal(run, tmp_path):
    shutil.copytree(TINY, tmp_path / "bundle")
    document = json.loads((TINY / "bundle.json").read_text())
    document["classifier"]["x\x1b]0;a\x07\nmodel  0123"] = document["classifier"]["fp32"]
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(document))
    shown = run("info", tmp_path / "bundle").stdout
    assert "\x1b" not in shown
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("model ")] == ["model"]
    assert r"x\x1b]0;a\x07\nmodel  0123 calibration" in shown


def test_reports_are_plain_values():
    report = examine(TINY, "cpu").to_dict()
    assert json.loads(json.dumps(report)) == report
    assert set(report["environment"]) == {
        field.name for field in dataclasses.fields(type(examine(TINY, "cpu").environment))
    }


@pytest.mark.parametrize(
    ("graphs", "shown"), [(None, None), (True, "in use"), (False, "can't be recorded here")]
)
def test_doctor_tells_whether_cuda_graphs_are_in_use(run, monkeypatch, graphs, shown):
    measured = examine(TINY, provider="cpu")
    timing = dataclasses.replace(measured.timing, cuda_graphs=graphs)
    monkeypatch.setattr(doctor, "examine", lambda *_, **__: dataclasses.replace(measured, timing=timing))
    lines = [line.split(maxsplit=2) for line in run("doctor", "--bundle", TINY).output.splitlines()]
    assert [line[2] for line in lines if line[:2] == ["CUDA", "graphs"]] == ([shown] if shown else [])


def test_doctor_says_why_a_preferred_provider_is_not_in_use(run, monkeypatch):
    monkeypatch.setattr(precision, "auto_providers", lambda: ("cuda", "cpu"))
    monkeypatch.setattr(session, "missing_libraries", lambda *_: "its libraries are gone")
    report = examine(TINY)
    (reason,) = report.timing.passed_over
    assert reason.startswith("the provider cuda can't be used: ")
    assert report.timing.provider == "cpu"
    assert json.loads(json.dumps(report.to_dict()))["timing"]["passed_over"] == [reason]
    lines = [line.split(maxsplit=2) for line in run("doctor", "--bundle", TINY).output.splitlines()]
    assert ["passed", "over", reason] in lines
    assert examine(TINY, "cpu").timing.passed_over == []
