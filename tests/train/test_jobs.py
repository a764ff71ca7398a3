"""Worker processes of `fauxface data prepare` that die, and a journal on a full disk."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fauxface.errors import DataError, OutputError
from fauxface.locator import Location
from fauxface_train import extraction, jobs
from fauxface_train.extraction import CropRule


class Deadly:
    """Ends the process that it runs in, as a kernel that is out of memory does."""

    def locate(self, _: np.ndarray) -> list[Location]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class DeadlySource:
    sha256: str = "00" * 32

    def settings(self) -> dict[str, Any]:
        return {}

    def open(self) -> Deadly:
        return Deadly()


@pytest.fixture
def bystander() -> Iterator[multiprocessing.Process]:
    """A process of the caller's own."""
    process = multiprocessing.get_context("spawn").Process(target=signal.pause)
    process.start()
    yield process
    process.kill()
    process.join()


def test_a_worker_that_dies_is_said_and_takes_only_its_own_kind_with_it(tmp_path: Path, bystander):
    paths = [tmp_path / f"{number}.png" for number in range(40)]
    for path in paths:
        Image.new("RGB", (80, 80)).save(path)
    with pytest.raises(DataError, match="a worker process died"):
        list(jobs.run(jobs.Job(CropRule(), DeadlySource(), tmp_path / "crops"), paths, 2))
    assert multiprocessing.active_children() == [bystander]


def test_a_picture_that_does_not_fit_the_memory_is_one_of_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def extract(path: Path, *_: Any) -> Any:
        if path.name == "1.png":
            raise MemoryError
        return extraction.Extract("ab", extraction.NO_FACE)

    monkeypatch.setattr(extraction, "extract_file", extract)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    done = list(jobs.run(jobs.Job(CropRule(), None, tmp_path / "crops"), paths, 1))
    assert [found.status for _, found, _ in done] == ["no_face", "unreadable", "no_face"]
    assert [journaled for *_, journaled in done] == [True, False, True]
    assert "memory" in done[1][1].reason


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line_that_names_the_journal():
    picture, full = Path("a.png"), Path("/dev/full")
    message = "^can't write /dev/full: No space left on device; free space, then run again$"
    with pytest.raises(OutputError, match=message), jobs.Journal(full, {"a.png": (1, 1)}) as journal:
        journal.add(picture, extraction.Extract("", extraction.UNREADABLE))
