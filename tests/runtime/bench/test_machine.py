import importlib.metadata

import pytest

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
    machine = describe_machine(tmp_path)
    assert (machine.cpu, machine.instructions) == (cpu, instructions)


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
    machine = describe_machine(tmp_path)
    assert machine.board == "NVIDIA Jetson Orin Nano"
    assert machine.governors == ("performance", "schedutil")
    assert machine.gpus == ("NVIDIA T4",)


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
    machine = describe_machine(tmp_path)
    assert machine.cpu
    assert machine.cores >= 1
    assert (machine.board, machine.gpus, machine.instructions, machine.governors) == (None, (), (), ())
    assert machine.celsius_before == {}


def test_versions_are_those_that_are_installed():
    found = versions()
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert found["opencv"].partition(".")[0].isdigit()
    assert any(name.startswith("onnxruntime") for name in found)
    assert "python" in found
