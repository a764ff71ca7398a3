import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
import typer

from fauxface import cli, cli_bench
from fauxface.bench import runner
from fauxface.bench.configurations import Refusal
from fauxface.bench.results import BenchReport

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests/data/tiny_bundle"
VALIDATOR = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/bench.schema.json").read_text()))
UNNAMED_RUN = ["--bundle", TINY, "--threads", "1", "--quick", "--rounds", "1"]
UNNAMED_RUN += ["--seconds", "0.001", "--frames", "1"]
TINY_RUN = [*UNNAMED_RUN, "--provider", "cpu"]


def build_app():
    """The app with nothing but `bench`; an app of one command would take no command's name."""
    app = typer.Typer(pretty_exceptions_enable=False)
    cli_bench.register(app)
    app.command("other")(lambda: None)
    return app


@pytest.fixture
def run(monkeypatch, command, tmp_path):
    """Run `fauxface bench` as `command` does, without warming up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "build_app", build_app)
    monkeypatch.setattr(runner, "warm_up", lambda query, clock: runner.WarmUp(1, 0.0, 0.0, True))
    return lambda *arguments: command("bench", *arguments)


def test_a_run_writes_all_its_outputs(run, tmp_path):
    outputs = ["--json", "a.json", "--markdown", "a.md", "--plot", "plots"]
    code, out, _ = run(*TINY_RUN, "--scenario", "single-stream", "--scenario", "offline", *outputs)
    assert code == 0
    assert "cpu fp32 1t" in out
    document = json.loads((tmp_path / "a.json").read_text())
    VALIDATOR.validate(document)
    report = BenchReport.read(tmp_path / "a.json")
    assert {(m.scenario, m.faces) for m in report.measurements} == {
        ("single-stream", 1),
        ("offline", 1),
        ("offline", 8),
    }
    assert (tmp_path / "a.md").read_text().startswith("# fauxface bench")
    assert (tmp_path / "plots" / "offline.png").is_file()

    code, out, _ = run("--compare", "a.json", "a.json", "--json", "c.json", "--markdown", "c.md")
    assert code == 0
    assert "speed of B over A" in out
    VALIDATOR.validate(json.loads((tmp_path / "c.json").read_text()))
    assert "1.000x" in (tmp_path / "c.md").read_text()


def test_a_budget_runs_alone_unless_scenarios_are_named(run):
    code, out, _ = run(*TINY_RUN, "--target-fps", "0.5", "--faces", "2")
    assert code == 0
    assert "1 of 1 configurations judge " in out
    assert " within 2000.0 ms; decoding isn't included" in out
    assert "single-stream" not in out
    assert "offline" not in out


def test_a_rate_that_nothing_holds_is_an_answer_not_an_error(run):
    code, out, _ = run(*TINY_RUN, "--target-fps", "90000")
    assert code == 0
    assert "FAILS" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--provider", "abacus"], "ProviderError: unknown provider 'abacus'"),
        (["--precision", "int3"], "ProviderError: unknown precision 'int3'"),
        (["--precision", "int8"], "BundleError: the bundle has no int8 classifier; it has fp32"),
        (["--threads", "0"], "ProviderError: threads must be 1 to 1024, not 0"),
        (["--scenario", "server"], "BenchmarkError: unknown scenario 'server'"),
        (["--batch", "0"], "BenchmarkError: --batch must be 1 to 1024, not 0"),
        (["--seconds", "0"], "BenchmarkError: --seconds"),
        (["--rounds", "0"], "BenchmarkError: --rounds"),
        (["--target-fps", "nan"], "BenchmarkError: --target-fps"),
        (["--faces", "3"], "BenchmarkError: --faces belongs to the budget"),
        (["--video", "empty.mp4"], "VideoError: empty.mp4: is empty"),
        (["--video", "none.mp4"], "VideoError: none.mp4: there is no such file"),
        (["--video", "empty.mp4", "--scenario", "offline"], "BenchmarkError: --video belongs to"),
        (["--bundle", "nowhere"], "BundleError: nowhere doesn't exist"),
        (["--json", "."], "OutputError: can't write .: it is a folder"),
        (["--compare", "empty.mp4", "empty.mp4"], "BenchmarkError: empty.mp4 isn't a result of fauxface"),
        (["--compare", "none", "empty.mp4"], "BenchmarkError: can't read none: No such file"),
        (["--compare", "a", "b", "--plot", "c"], "BenchmarkError: --plot shows one result"),
        (["--compare", "a", "b", "--threads", "0"], "BenchmarkError: --compare measures nothing"),
        (["--compare", "a", "b", "--quick"], "BenchmarkError: --compare measures nothing"),
        (["--compare", "a", "b", "--bundle", "c"], "BenchmarkError: --compare measures nothing"),
        (["--compare", "a", "b", "--cameras", "9"], "BenchmarkError: --compare measures nothing"),
        (["--compare", "a", "b", "--seed", "3"], "BenchmarkError: --compare measures nothing"),
        (["--video", "c", "--scenario", "video", "--json", "./c"], "BenchmarkError: c is given twice"),
        (["--compare", "a", "b", "--json", "./b"], "BenchmarkError: b is given twice"),
        (["--json", "x", "--markdown", "x"], "BenchmarkError: x is given twice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(run, tmp_path, arguments, message):
    (tmp_path / "empty.mp4").write_bytes(b"")
    given = arguments if {"--bundle", "--compare"} & {*arguments} else ["--bundle", TINY, *arguments]
    outputs = [] if "--json" in arguments else ["--json", "out.json"]
    code, out, err = run(*given, *outputs)
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"error: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.mp4"]


def test_a_provider_without_its_library_is_one_line(run):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    code, _, err = run("--bundle", TINY, "--provider", "cuda")
    assert code == 1
    assert err.startswith("error: ProviderError: the provider cuda can't be used")
    assert err.count("\n") == 1


def with_refusal(report, kind, precision):
    return dataclasses.replace(report, refused=(Refusal("cpu", precision, 1, kind, "logits differ"),))


@pytest.mark.parametrize(
    ("kind", "precision", "named", "code"),
    [
        ("accuracy", "int8", [], 1),
        ("model", "int8", [], 1),
        ("unavailable", "int8", [], 0),
        ("accuracy", "fp32", [], 0),  # which another provider runs
        ("accuracy", "fp32", ["--provider", "cpu"], 1),
        ("accuracy", "fp32", ["--precision", "fp32"], 1),
    ],
)
def test_a_refused_configuration_fails_the_command_after_its_report(
    run, monkeypatch, tmp_path, kind, precision, named, code
):
    real = runner.bench
    monkeypatch.setattr(runner, "bench", lambda *a, **k: with_refusal(real(*a, **k), kind, precision))
    found, out, err = run(*UNNAMED_RUN, *named, "--scenario", "single-stream", "--json", "a.json")
    assert found == code
    assert f"REFUSED cpu {precision} 1t: logits differ" in out
    assert (tmp_path / "a.json").is_file()
    assert (f"GateError: 1 refused, cpu {precision} 1t: logits differ" in err) == (code == 1)
