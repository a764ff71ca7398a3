import re
import subprocess
import sys

import pytest

import environments
from environments import ENVIRONMENTS, Environment, EnvironmentFailedError, commands, python_of

SMALL = Environment("small", ("one==1",), ("two==2",))


def test_every_requirement_is_pinned():
    for environment in ENVIRONMENTS.values():
        for requirement in (*environment.requirements, *environment.alone):
            assert re.fullmatch(r"[a-z-]+==\d[\w.]*", requirement)


def test_another_pin_is_another_folder():
    changed = Environment("small", ("one==2",), ("two==2",))
    swapped = Environment("small", ("one==1", "two==2"))
    assert len({e.folder_name for e in (SMALL, changed, swapped)}) == 3


@pytest.mark.parametrize("uv", ["uv", None])
def test_what_would_replace_opencv_is_installed_without_dependencies(tmp_path, uv):
    python = tmp_path / "python"
    made, first, second = commands(SMALL, tmp_path, python, uv)
    assert made[-1] == str(tmp_path)
    assert first[-1] == "one==1"
    assert "--no-deps" not in first
    assert second[-2:] == ["--no-deps", "two==2"]
    assert all(str(python) in command for command in (first, second))
    assert made[0] == (uv or sys.executable)


def test_an_environment_is_made_once_and_a_half_made_one_again(tmp_path, monkeypatch):
    ran = []

    def run(command, **_):
        ran.append(command)
        if "venv" in command:
            (tmp_path / SMALL.folder_name / "bin").mkdir(parents=True)
            (tmp_path / SMALL.folder_name / "bin" / "python").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(environments.subprocess, "run", run)
    monkeypatch.setattr(environments.sys, "platform", "linux")
    (tmp_path / SMALL.folder_name / "bin").mkdir(parents=True)
    (tmp_path / SMALL.folder_name / "bin" / "python").touch()
    python = python_of(SMALL, tmp_path)
    assert len(ran) == 3
    assert python_of(SMALL, tmp_path) == python
    assert len(ran) == 3


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            subprocess.CompletedProcess([], 1, "", "long\nno such version\n"),
            "no such version; check the network",
        ),
        (FileNotFoundError("uv is gone"), "uv is gone; check the network"),
    ],
)
def test_a_failed_installation_is_one_line(tmp_path, monkeypatch, result, message):
    def run(*_, **__):
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(environments.subprocess, "run", run)
    with pytest.raises(EnvironmentFailedError, match=message):
        python_of(SMALL, tmp_path)
