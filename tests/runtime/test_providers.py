import ctypes
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fauxface import providers, session
from fauxface.errors import BundleError, ProviderError


def test_cuda_graphs_are_an_option():
    plain = providers.cuda_options(graphs=False)
    assert plain == {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    assert providers.cuda_options(graphs=True) == plain | {"enable_cuda_graph": "1"}


def test_openvino_computes_in_float32():
    assert providers.openvino_options(3) == {
        "device_type": "CPU",
        "precision": "FP32",
        "num_of_threads": "3",
    }


PROFILE = {
    "trt_profile_min_shapes": "faces:1x128x128x3",
    "trt_profile_opt_shapes": "faces:8x128x128x3",
    "trt_profile_max_shapes": "faces:32x128x128x3",
}
CACHE = {
    "trt_engine_cache_enable": "1",
    "trt_engine_cache_path": "kept",
    "trt_timing_cache_enable": "1",
    "trt_timing_cache_path": "kept",
}


@pytest.mark.parametrize(
    ("precision", "cache", "expected"),
    [
        ("fp32", None, PROFILE),
        ("fp16", None, PROFILE | {"trt_fp16_enable": "1"}),
        ("fp32", Path("kept"), PROFILE | CACHE),
        ("fp16", Path("kept"), PROFILE | CACHE | {"trt_fp16_enable": "1"}),
    ],
)
def test_tensorrt(precision, cache, expected):
    assert providers.tensorrt_options("faces", precision, cache) == expected


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(providers, "compute_capability", lambda: "8.7")
    monkeypatch.setattr(providers, "tensorrt_version", lambda: "10.9.0.34")


@pytest.mark.usefixtures("gpu")
def test_engines_of_other_models_versions_gpus_and_precisions_lie_elsewhere(tmp_path, monkeypatch):
    first = providers.engine_cache(b"model", "fp16", "1.32.0", tmp_path)
    assert first is not None
    assert first.is_dir()
    assert first.parent == tmp_path / "tensorrt"
    for part in ("fp16", "sm8.7", "trt10.9.0.34", "ort1.32.0"):
        assert part in first.name
    if sys.platform != "win32":
        assert stat.S_IMODE(first.stat().st_mode) == 0o700
    assert providers.engine_cache(b"model", "fp16", "1.32.0", tmp_path) == first
    others = [
        providers.engine_cache(b"other", "fp16", "1.32.0", tmp_path),
        providers.engine_cache(b"model", "fp32", "1.32.0", tmp_path),
        providers.engine_cache(b"model", "fp16", "1.33.0", tmp_path),
    ]
    monkeypatch.setattr(providers, "compute_capability", lambda: "8.9")
    others.append(providers.engine_cache(b"model", "fp16", "1.32.0", tmp_path))
    monkeypatch.setattr(providers, "tensorrt_version", lambda: "10/../11")
    others.append(providers.engine_cache(b"model", "fp16", "1.32.0", tmp_path))
    assert len({first, *others}) == 6
    assert {path.parent for path in others if path} == {tmp_path / "tensorrt"}


@pytest.mark.usefixtures("gpu")
def test_nothing_is_kept_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert providers.engine_cache(b"model", "fp16", "1.32.0", tmp_path / "file") is None


@pytest.mark.usefixtures("gpu")
def test_nothing_is_kept_for_a_user_without_a_home(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(providers.Path, "home", homeless)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert providers.engine_cache(b"model", "fp16", "1.32.0") is None


def test_a_build_is_announced_once(tmp_path, capsys):
    assert providers.announce_build(tmp_path)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(tmp_path) in said
    (tmp_path / "a.engine").touch()
    assert not providers.announce_build(tmp_path)
    assert capsys.readouterr().err == ""
    assert providers.announce_build(None)
    assert "can't be kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "set/fauxface"),
        ("linux", None, "home/.cache/fauxface"),
        ("win32", "LOCALAPPDATA", "set/fauxface"),
        ("darwin", None, "home/Library/Caches/fauxface"),
    ],
)
def test_user_cache(platform, variable, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "set"))
    assert providers.user_cache() == tmp_path / expected


class Driver:
    """An NVIDIA driver with one GPU of compute capability 8.7."""

    def __init__(self, failing=None):
        self.failing = failing

    def cuInit(self, flags):  # noqa: N802
        return 100 if self.failing == "cuInit" else 0

    def cuDeviceGet(self, device, number):  # noqa: N802
        device._obj.value = number
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        assert isinstance(device, ctypes.c_int)
        value._obj.value = {75: 8, 76: 7}[attribute]
        return 0


@pytest.mark.parametrize(
    ("driver", "expected"), [(Driver(), "8.7"), (Driver("cuInit"), "unknown"), (object(), "unknown")]
)
def test_compute_capability(driver, expected):
    assert providers.compute_capability(driver) == expected


def test_without_a_driver_the_capability_is_unknown(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert providers.compute_capability() == "unknown"


def test_tensorrt_version(monkeypatch):
    found = {"tensorrt-cu12": "10.9.0.34"}

    def version(name):
        if name not in found:
            raise providers.importlib.metadata.PackageNotFoundError(name)
        return found[name]

    class Library:
        def getInferLibVersion(self):  # noqa: N802
            return 100900

    def load(name):
        if name != "libnvinfer.so":
            raise OSError(name)
        return Library()

    monkeypatch.setattr(providers.importlib.metadata, "version", version)
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert providers.tensorrt_version() == "10.9.0.34"
    found.clear()
    assert providers.tensorrt_version() == "100900"
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert providers.tensorrt_version() == "unknown"


@pytest.mark.parametrize("provider", ["tensorrt", "cuda"])
def test_a_damaged_engine_is_thought_of(provider, monkeypatch, tmp_path):
    """ONNX Runtime writes an engine in place, so that a power cut leaves a part of one."""

    def refuse(*_):
        raise BundleError("Failed to deserialize the engine")

    ort = SimpleNamespace(
        get_available_providers=lambda: list(session.PROVIDERS.values()),
        set_default_logger_severity=lambda _: None,
    )
    monkeypatch.setattr(session, "missing_libraries", lambda *_: None)
    monkeypatch.setattr(session, "_create", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        ProviderError, match=r"Failed to deserialize the engine; .*or use --provider cpu"
    ) as caught:
        session._start(ort, session._Model(b"", "fp32", 1), provider)
    assert ("remove the engines below" in str(caught.value)) == (provider == "tensorrt")
