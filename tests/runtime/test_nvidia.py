import ctypes
import importlib.util
import re
import sys
import threading
import time
from importlib.machinery import ModuleSpec

import pytest

from fauxface import nvidia

DRIVER, (INFER, PARSER) = nvidia._DRIVER, nvidia._TENSORRT


class Runtime:
    """ONNX Runtime, which says on standard output what it couldn't load."""

    def __init__(self, said=""):
        self.said = said

    def preload_dlls(self, directory):
        print(self.said, end="")  # noqa: T201


@pytest.fixture
def system(monkeypatch):
    """A system that has these libraries, and the pip package with its libraries where a folder is given."""

    def build(*names, folder=None):
        loaded = []

        def load(name):
            if name not in names:
                raise OSError(name)
            loaded.append(name)

        spec = None
        if folder is not None:
            spec = ModuleSpec("tensorrt_libs", None, is_package=True)
            spec.submodule_search_locations.append(folder)
        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
        return loaded

    return build


@pytest.mark.parametrize(
    ("provider", "libraries", "said", "problem"),
    [
        ("cuda", (), "", "there is no NVIDIA driver"),
        ("tensorrt", (INFER, PARSER), "", "there is no NVIDIA driver"),
        ("cuda", (DRIVER,), "", None),
        ("cuda", (DRIVER,), "Skip loading CUDA and cuDNN DLLs since torch is imported.\n", None),
        (
            "cuda",
            (DRIVER,),
            "Failed to load libcudnn.so.9\nmore",
            r"libcudnn.so.9; run: pip install 'fauxface",
        ),
        ("tensorrt", (DRIVER,), "", "TensorRT 10 isn't installed .*; run: pip install 'tensorrt<11'"),
        ("tensorrt", (DRIVER, INFER), "", "TensorRT 10 isn't installed"),
        ("tensorrt", (DRIVER, INFER, PARSER), "Failed to load a library of CUDA", None),
    ],
)
def test_what_is_missing_is_told_in_one_line(system, capsys, provider, libraries, said, problem):
    system(*libraries)
    found = nvidia.missing_libraries(Runtime(said), provider)
    assert (found is None) == (problem is None)
    assert re.search(problem or "^$", found or "")
    assert "\n" not in (found or "")
    assert capsys.readouterr().out == ""


def test_tensorrt_of_the_pip_package_is_loaded_the_parser_last(system, tmp_path):
    files = [str(tmp_path / name) for name in (INFER, PARSER)]
    loaded = system(DRIVER, *files, folder=str(tmp_path))
    assert nvidia.missing_libraries(Runtime(), "tensorrt") is None
    assert loaded == [DRIVER, *files]


def test_libraries_are_loaded_once_whichever_threads_ask(system):
    system(DRIVER)
    calls, both = [], threading.Barrier(2)

    class Slow(Runtime):
        def preload_dlls(self, directory):
            calls.append(directory)
            time.sleep(0.05)

    runtime, before = Slow(), sys.stdout

    def ask():
        both.wait(10)
        assert nvidia.missing_libraries(runtime, "cuda") is None

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [""]
    assert sys.stdout is before
