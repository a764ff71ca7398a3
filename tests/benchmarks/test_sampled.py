import subprocess
from pathlib import Path

import pytest

from fauxface.errors import BenchmarkError, MissingExtraError


@pytest.fixture
def sampled(load):
    return load("sampled")


RAW = """\
 80
<module> (<string>:7);Pipeline._wait (fauxface/pipeline.py:90);Condition.wait (threading.py:3) 5
<module> (<string>:7);Pipeline._wait (fauxface/pipeline.py:90);Condition.notify (threading.py:3) 6
run (threading.py:9);Classifier._run_on_host (fauxface/session.py:5);Session.run (capi/onnxruntime_x.py:2) 30
run (threading.py:9);Classifier._run_on_host (fauxface/session.py:9) 10
<module> (<string>:5);Scanner.__init__ (fauxface/scanner.py:60);Bundle.load (fauxface/bundle.py:3) 40
<module> (<string>:2);_call_with_frames_removed (<frozen importlib._bootstrap>:2);f (fauxface/a.py) 7
listen (socket.py:2) 1
"""


def test_samples_count_for_the_innermost_function_of_ours(sampled):
    assert sampled.by_function(RAW) == {
        sampled.OUTSIDE: 81,
        "pipeline.py: Pipeline._wait": 6,
        "session.py: Classifier._run_on_host": 40,
    }


@pytest.mark.parametrize("line", ["f (a.py:1)", "f 3", "f (a.py:1);g 3", "f (a.py:1) -3"])
def test_other_lines_are_refused(line, sampled):
    with pytest.raises(BenchmarkError, match="can't read a line of py-spy"):
        sampled.by_function(line)


def test_a_scan_is_sampled_from_outside(sampled, monkeypatch, tmp_path):
    commands = []

    def run(command, **_):
        Path(command[command.index("--output") + 1]).write_text(
            "f (fauxface/a.py:1) 999\ng (fauxface/b.py:1) 1\n"
        )
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sampled, "_py_spy", lambda: "py-spy")
    row = sampled.measure(tmp_path / "clip.mp4", Path("bundle"), "cpu", 100, 2)
    assert row == {"clip": "clip.mp4", "samples": 1000, "shares": {"a.py: f": 0.999}}
    assert commands[0][:2] == ["py-spy", "record"]
    assert commands[0][-4:] == ["bundle", "cpu", str(tmp_path / "clip.mp4"), "2"]


def test_a_sampler_that_fails_is_one_line(sampled, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, stderr="Sampling\nError: no permission\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setattr(sampled, "_py_spy", lambda: "py-spy")
    with pytest.raises(BenchmarkError, match=r"can't sample the scan of clip\.mp4: Error: no permission"):
        sampled.measure(Path("clip.mp4"), Path("bundle"), "cpu", 100, 2)


def test_without_py_spy_the_line_that_installs_it(sampled, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(MissingExtraError, match="pip install py-spy"):
        sampled._py_spy()
