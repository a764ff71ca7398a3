import platform
import subprocess
import sys

import pytest

from fauxface import heap

FAULTS = """
import resource
from fauxface import heap
{setting}
def faults():
    for _ in range(10):
        bytearray(1 << 26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_kept_memory_comes_back_without_page_faults():
    def run(setting):
        code = FAULTS.format(setting=setting)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert 10 * run("heap.keep_freed_memory()") < run("")


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    heap.share_among_threads()
    heap.keep_freed_memory()
