import importlib.metadata
import types

import pytest

from fauxface.bench import machine
from fauxface.bench.machine import describe_machine, temperatures, versions

X86 = "processor\t: 0\nmodel name\t: Some Xeon\nflags\t\t: fpu avx2 avx512_vnni amx_int8 sse4_2\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n\nHardware\t: BCM2712\nModel\t\t: Raspberry Pi 5\n"


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("info", "cpu", "instructions"),
    [
        (X86, "Some Xeon", ("sse4_2", "avx2", "avx512_vnni", "amx_int8")),
        (ARM, "Raspberry Pi 5", ("asimd", "asimddp", "i8mm")),
    ],
)
def test_processor_and_instruction_sets(tmp_path, info, cpu, instructions):
    write(tmp_path, {"proc/cpuinfo": info})
    found = describe_machine(tmp_path)
    assert (found.cpu, found.instructions) == (cpu, instructions)


def test_board_governor_gpu(tmp_path):
    write(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
            "sys/devices/system/cpu/cpu10/cpufreq/scaling_governor": "performance\n",
            "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA T4\nIRQ:  16\n",
        },
    )
    found = describe_machine(tmp_path)
    assert found.board == "NVIDIA Jetson Orin Nano"
    assert found.governors == ("performance", "schedutil")
    assert found.gpus == ("NVIDIA T4",)


def test_temperatures_by_sensor(tmp_path):
    write(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48312\n",
            "sys/class/thermal/thermal_zone1/type": "broken\n",
            "sys/class/thermal/thermal_zone1/temp": "-274000\n",
            "sys/class/thermal/thermal_zone2/temp": "no number",
            "sys/class/hwmon/hwmon0/name": "coretemp\n",
            "sys/class/hwmon/hwmon0/temp1_input": "51000\n",
            "sys/class/hwmon/hwmon0/temp2_input": "49000\n",
        },
    )
    assert temperatures(tmp_path) == {"cpu-thermal": 48.3, "coretemp": 51.0, "coretemp 2": 49.0}


def test_a_system_that_tells_nothing_is_described_all_the_same(tmp_path):
    found = describe_machine(tmp_path)
    assert found.cpu
    assert found.cores >= 1
    assert (found.board, found.gpus, found.instructions, found.governors) == (None, (), (), ())
    assert found.celsius_before == {}


def test_versions_are_those_that_are_installed():
    found = versions()
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert found["opencv"].partition(".")[0].isdigit()
    assert any(name.startswith("onnxruntime") for name in found)
    assert "python" in found


def test_versions_of_what_a_gpu_s_speed_depends_on(tmp_path, monkeypatch):
    write(
        tmp_path,
        {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Module  555.42.02  May\nGCC"},
    )
    monkeypatch.setattr(machine, "tensorrt_version", lambda: "10.3.0")
    cudnn = types.SimpleNamespace(name="nvidia-cudnn-cu12", version="9.1")
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [cudnn, types.SimpleNamespace(name="x")])
    found = {"nvidia driver": "555.42.02", "tensorrt": "10.3.0", "nvidia-cudnn-cu12": "9.1"}
    assert machine._of_gpus(["CUDAExecutionProvider"], tmp_path) == found
    assert machine._of_gpus(["CPUExecutionProvider"], tmp_path) == {}
    monkeypatch.setattr(machine, "tensorrt_version", lambda: "unknown")
    monkeypatch.setattr(importlib.metadata, "distributions", list)
    assert machine._of_gpus(["TensorrtExecutionProvider"], tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("looks", "share"),
    [([(50, 50), (350, 150)], 0.75), ([(50, 50), (50, 50)], None), ([(0, 0), (0, 0)], None)],
)
def test_a_busy_share_is_of_the_cpus_that_are_left_to_the_process(tmp_path, monkeypatch, looks, share):
    turns = iter(looks)

    def look(_):
        busy, idle = next(turns, looks[-1])
        lines = "cpu 9 9 9 9 9 9 9 9", f"cpu0 0 0 {busy} {idle} 0 0 0 0 0 0", "cpu1 9 0 0 9 0 0 0 0"
        write(tmp_path, {"proc/stat": "\n".join(lines)})

    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(machine.time, "sleep", look)
    look(0)
    assert machine.busy_share(1.0, tmp_path) == (None if share is None else pytest.approx(share))
    assert machine.busy_share(1.0, tmp_path / "none") is None
