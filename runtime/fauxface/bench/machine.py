"""The device that is measured: processor, instruction sets, governor, temperature, load, versions."""

import contextlib
import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from fauxface.providers import tensorrt_version
from fauxface.session import PROVIDERS, import_onnxruntime, installed_distributions
from fauxface.threads import available_cores

_INSTRUCTIONS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "neon", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
_PACKAGES = ("fauxface", "numpy", "pillow")
_OF_GPUS = re.compile(r"nvidia-(cublas|cuda-runtime|cudnn|cufft)(-cu\d+)?")
_LOOK_S = 0.3
_HOTTEST_C, _COLDEST_C = 150.0, -60.0


@dataclass(frozen=True, slots=True)
class Machine:
    """The device, and what may slow it down; what the system doesn't tell is None or empty.

    Attributes:
        cpu: Name of the processor.
        board: Name of the board, for example of a Jetson or a Raspberry Pi.
        gpus: Names of NVIDIA GPUs.
        system: Operating system and machine.
        instructions: Instruction sets that matter for inference, for example "avx512_vnni".
        cores: Cores that affinity and cgroup quota leave to this process.
        logical_cpus: CPUs that the system has.
        governors: Frequency governors in use.
        load_before: Load average over one minute before the run.
        load_after: The same after it, which the run itself raises.
        celsius_before: Temperature by sensor before the run.
        celsius_after: The same after it.
        busy_before: Share of the time of the CPUs that affinity leaves to this process that was taken before
            the run; None in older files, too.
    """

    cpu: str
    board: str | None
    gpus: tuple[str, ...]
    system: str
    instructions: tuple[str, ...]
    cores: int
    logical_cpus: int
    governors: tuple[str, ...]
    load_before: float | None
    load_after: float | None
    celsius_before: dict[str, float]
    celsius_after: dict[str, float]
    busy_before: float | None = None


def describe_machine(root: Path = Path("/")) -> Machine:
    """Describe the device before a run; `load_after` and `celsius_after` are still empty.

    Args:
        root: The root of the file system; other roots serve tests.
    """
    info = _text(root / "proc/cpuinfo")
    load = load_average()
    return Machine(
        cpu=cpu_name(root),
        board=_text(root / "proc/device-tree/model").strip("\0\n ") or None,
        gpus=_gpus(root),
        system=f"{platform.system()} {platform.machine()}",
        instructions=_instructions(info),
        cores=available_cores(),
        logical_cpus=os.cpu_count() or 1,
        governors=_governors(root),
        load_before=load,
        load_after=None,
        celsius_before=temperatures(root),
        celsius_after={},
        busy_before=None if (busy := busy_share(_LOOK_S, root)) is None else round(busy, 3),
    )


def busy_share(seconds: float = 2.0, root: Path = Path("/")) -> float | None:
    """Return the share of the time of this process's CPUs that is taken; None where the system doesn't say.

    Args:
        seconds: How long to look, asleep.
        root: The root of the file system; other roots serve tests.
    """
    before = _ticks(root)
    if before is None:
        return None
    time.sleep(seconds)
    after = _ticks(root)
    if after is None or after[1] <= before[1]:
        return None
    return 1 - (after[0] - before[0]) / (after[1] - before[1])


def _ticks(root: Path) -> tuple[int, int] | None:
    """Return idle and total ticks of the CPUs that affinity leaves to this process."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    idle = total = 0
    for line in _text(root / "proc/stat").splitlines():
        name, *fields = line.split()[:9] or [""]
        number = name.removeprefix("cpu")
        if not (name.startswith("cpu") and number.isdigit() and len(fields) == 8):
            continue
        if allowed is None or int(number) in allowed:
            ticks = [int(field) for field in fields]
            idle, total = idle + ticks[3] + ticks[4], total + sum(ticks)
    return (idle, total) if total else None


def load_average() -> float | None:
    """Return the load average over one minute, or None where the system has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def temperatures(root: Path = Path("/")) -> dict[str, float]:
    """Return degrees Celsius by sensor, as far as Linux lets them be read; what is absurd is left out."""
    found: dict[str, float] = {}
    pairs = [(zone / "type", zone / "temp") for zone in _sorted(root / "sys/class/thermal", "thermal_zone*")]
    for chip in _sorted(root / "sys/class/hwmon", "hwmon*"):
        pairs += [(chip / "name", sensor) for sensor in _sorted(chip, "temp*_input")]
    for name_file, sensor in pairs:
        try:
            celsius = round(int(_text(sensor)) / 1000, 1)
        except ValueError:
            continue
        name = _text(name_file).strip() or sensor.parent.name
        if _COLDEST_C < celsius < _HOTTEST_C:
            found[_free(name, found)] = celsius
    return found


def versions(root: Path = Path("/")) -> dict[str, str]:
    """Return the versions of Python and of every package that the speed depends on.

    With an ONNX Runtime for GPUs, NVIDIA's packages, its driver and TensorRT are among them.

    Args:
        root: The root of the file system; other roots serve tests.

    Raises:
        ProviderError: ONNX Runtime can't be imported.
    """
    found = {"python": platform.python_version(), "opencv": cv2.__version__}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    ort = import_onnxruntime()
    # A device's own build may come without a distribution's metadata.
    found |= installed_distributions() or {"onnxruntime": str(ort.__version__)}
    return found | _of_gpus(ort.get_available_providers(), root)


def _of_gpus(built_with: Sequence[str], root: Path) -> dict[str, str]:
    """Return the versions of what a GPU's speed depends on; nothing where ONNX Runtime is built without."""
    if not {PROVIDERS["cuda"], PROVIDERS["tensorrt"]} & set(built_with):
        return {}
    found = {
        name: each.version
        for each in importlib.metadata.distributions()
        if (name := each.name) and _OF_GPUS.fullmatch(name.lower())
    }
    driver = re.search(r"\b\d+(\.\d+)+\b", _text(root / "proc/driver/nvidia/version"))
    known = {"nvidia driver": driver and driver[0], "tensorrt": tensorrt_version()}
    return found | {name: version for name, version in known.items() if version not in (None, "unknown")}


def cpu_name(root: Path = Path("/")) -> str:
    """Return the processor's name as the system tells it; `root` is that of the file system."""
    lines = [line.partition(":")[::2] for line in _text(root / "proc/cpuinfo").splitlines()]
    for field in ("model name", "Model", "Hardware", "cpu model"):
        for name, value in lines:
            if name.strip() == field and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _instructions(info: str) -> tuple[str, ...]:
    for line in info.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            here = set(value.split())
            return tuple(flag for flag in _INSTRUCTIONS if flag in here)
    return ()


def _governors(root: Path) -> tuple[str, ...]:
    files = _sorted(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_governor")
    return tuple(sorted({text for file in files if (text := _text(file).strip())}))


def _gpus(root: Path) -> tuple[str, ...]:
    names = []
    for file in _sorted(root / "proc/driver/nvidia/gpus", "*/information"):
        names += [
            line.partition(":")[2].strip()
            for line in _text(file).splitlines()
            if line.partition(":")[0].strip() == "Model"
        ]
    return tuple(names)


def _sorted(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _free(name: str, taken: dict[str, float]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name} {number}", number + 1
    return free


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
