import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest

from fauxface.errors import GateError
from fauxface.video import FrameReader

TINY_BUNDLE = Path(__file__).parents[1] / "data/tiny_bundle"

pytestmark = pytest.mark.usefixtures("load")


def test_results_name_format_model_machine_and_versions(load, scanner, tmp_path):
    arguments = argparse.Namespace(benchmark="thing", out=tmp_path / "new" / "a.json", busy=True)
    began = load("start").Before(0.61234, "c0ffee", scanner.bundle.sha256)
    load("recording").save(arguments, began, {"rows": [1]})
    data = json.loads((tmp_path / "new" / "a.json").read_text())
    assert data["format"] == "fauxface.thing/1"
    assert (data["rows"], data["trial"], data["busy_before"]) == ([1], True, 0.612)
    assert data["model"] == scanner.bundle.sha256
    assert data["machine"]["cores"] >= 1
    assert {"python", "numpy"} <= set(data["versions"])
    assert any(name.startswith("onnxruntime") for name in data["versions"])


@pytest.mark.parametrize(
    ("share", "busy", "trial"),
    [(0.05, False, False), (0.5, False, True), (None, False, False), (0.5, True, True)],
)
def test_work_that_came_meanwhile_makes_a_result_a_trial(
    load, scanner, tmp_path, monkeypatch, capsys, share, busy, trial
):
    monkeypatch.setattr(load("start"), "busy_share", lambda: share)
    arguments = argparse.Namespace(benchmark="thing", out=tmp_path / "a.json", busy=busy)
    load("recording").save(arguments, load("start").Before(0.0, "c0ffee", None), {})
    assert json.loads((tmp_path / "a.json").read_text())["trial"] is trial
    assert ("counts as a trial" in capsys.readouterr().err) == (trial and not busy)


def test_the_clip_of_our_own_has_the_frames_asked_for(load, tmp_path):
    with FrameReader(load("recording").make_clip(tmp_path / "a.mp4", 3, (320, 180))) as reader:
        frames = list(reader)
    assert [frame.image.shape for frame in frames] == [(180, 320, 3)] * 3
    assert (frames[0].image != frames[2].image).any()


def test_percentiles_and_rates(load):
    recording = load("recording")
    assert recording.ms([0.001, 0.002, 0.003]) == 2.0
    assert recording.ms([0.0, 0.01], 90) == 9.0
    assert recording.rate(30, 1.5) == 20.0


def test_limits_that_are_not_held_are_named(load):
    recording = load("recording")
    rows = [{"clip": "a", "held": True}, {"clip": "b", "held": False}, {"clip": "b", "held": False}]
    recording.require_held(rows[:1], "clip")
    with pytest.raises(GateError, match="a limit isn't held: b;"):
        recording.require_held(rows, "clip")


SCRIPTS = ("hot_path", "sampled", "locator_policies", "locator_sides", "video_pipeline", "startup")


@pytest.fixture
def run(load, monkeypatch, capsys):
    """Run a script's main function; return its exit code and what it says on standard error."""

    def called(name, *options, busy=0.0):
        harness = load("harness")
        monkeypatch.setattr(load("start"), "busy_share", lambda _=0: busy)
        monkeypatch.setattr("sys.argv", [name, *map(str, options)])
        threads = cv2.getNumThreads()
        try:
            harness.run(load(name).main)
        except SystemExit as left:
            return left.code, capsys.readouterr().err
        finally:
            cv2.setNumThreads(threads)
        return 0, capsys.readouterr().err

    return called


def of(name, clip):
    return ["--clip", clip] if name == "startup" else [clip]


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("file", "problem"), [("absent.mp4", "there is no such file"), ("text.mp4", "readable video")]
)
def test_what_is_no_clip_is_one_line(run, tmp_path, name, file, problem):
    (tmp_path / "text.mp4").write_text("text")
    code, said = run(name, *of(name, tmp_path / file))
    assert (code, said.count("\n")) == (1, 1)
    assert file in said
    assert problem in said


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_busy_machine_is_refused_by_the_speed_scripts(run, clip, name):
    code, said = run(name, *of(name, clip), busy=0.5)
    assert (code, said.count("\n")) == (1, 1)
    assert "other processes take 50% of the processors" in said


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("hot_path", "--rounds"),
        ("hot_path", "--batches"),
        ("sampled", "--rounds"),
        ("sampled", "--rate"),
        ("locator_policies", "--k"),
        ("locator_sides", "--side"),
        ("locator_sides", "--every"),
        ("video_pipeline", "--threads"),
        ("video_pipeline", "--rounds"),
        ("startup", "--rounds"),
    ],
)
def test_counts_below_one_are_refused(run, clip, name, option):
    code, said = run(name, *of(name, clip), option, "0")
    assert code == 2
    assert said.endswith(f"argument {option}: must be at least 1, not 0\n")


@pytest.mark.parametrize("name", ["hot_path", "sampled", "video_pipeline"])
def test_an_unknown_provider_is_one_line(run, clip, name):
    code, said = run(name, clip, "--bundle", TINY_BUNDLE, "--provider", "abacus")
    assert (code, said.count("\n")) == (1, 1)
    assert "abacus" in said


@pytest.mark.parametrize(("limit", "code"), [(1.0, 0), (0.0, 1)])
def test_a_limit_decides_the_exit_code_and_the_result_is_written(
    load, run, clip, tmp_path, monkeypatch, limit, code
):
    monkeypatch.setattr(load("hot_path"), "LIMIT", limit)
    out = tmp_path / "hot_path.json"
    options = ("--bundle", TINY_BUNDLE, "--rounds", 1, "--batches", 2, "--busy", "--out", out)
    assert run("hot_path", clip, *options, busy=0.5)[0] == code
    data = json.loads(out.read_text())
    assert (data["format"], data["trial"], data["busy_before"]) == ("fauxface.hot_path/1", True, 0.5)


def test_the_locator_scripts_write_what_they_measured(run, clip, tmp_path):
    out = tmp_path / "locator_sides.json"
    options = ("--bundle", TINY_BUNDLE, "--every", 6, "--side", 320, "--out", out)
    assert run("locator_sides", clip, *options)[0] == 0
    data = json.loads(out.read_text())
    assert (data["every"], len(data["rows"]), data["trial"]) == (6, 2, False)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("failing", ["", "video_pipeline"])
def test_one_command_measures_all_for_the_performance_page(load, tmp_path, failing):
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$(basename "$1") $*" >> {log}\n'
        f"case $1 in *{failing or 'none'}.py) exit 1;; esac\n"
    )
    python.chmod(0o755)
    script = Path(load("recording").__file__).with_name("make_performance.sh")
    environment = {**os.environ, "PYTHON": str(python)}
    done = subprocess.run(
        ["bash", script, "a.mp4", "b.mp4"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        (1, "failed: video_pipeline.py; see above\n") if failing else (0, "")
    )
    called = [line.split() for line in log.read_text().splitlines()]
    names = (*SCRIPTS[:-1], "folder", SCRIPTS[-1], "performance_doc")
    assert [words[0] for words in called] == [f"{name}.py" for name in names]
    assert called[3][2:] == ["a.mp4", "b.mp4", "--side", "640", "960", "1152", "1280"]
    assert called[6][2:] == ["--clip", "a.mp4"]
