"""Crops and views, and the worker processes that make batches of them."""

import dataclasses
import errno
import io
import multiprocessing
import os
import signal
import sys
import tempfile

import numpy as np
import pytest

pytest.importorskip("torch")

from fauxface.errors import DataError
from fauxface_train import loading
from fauxface_train.dataset import PreparedData, load_stored
from fauxface_train.loading import batches
from fauxface_train.presets import Degradations


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_the_main_process(number):
    # In place of Views, something that a new process can load: pictures of nothing, each with its number.
    views = {(i, i): (np.zeros((1, 1, 3), np.uint8), i) for i in range(40)}
    found = batches(views, [[key] for key in views], workers=1)
    labels = []
    for _, label in found:
        if not labels:
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, number)
        labels.append(int(label))
    assert labels == list(range(40))
    worker.join(10)
    assert worker.exitcode == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_crop_that_cannot_be_read_is_one_line(workers, prepared):
    samples = PreparedData.load(prepared).samples("train")
    samples[0].path.unlink()
    views = loading.Views(loading.Crops(samples, None, []), None, 0)
    with pytest.raises(DataError, match=samples[0].path.name) as caught:
        list(batches(views, [[(0, 0)]], workers=workers))
    assert "Traceback" not in str(caught.value)
    assert str(caught.value).startswith("can't read")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), True),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), True),
        (ConnectionResetError(104, "Connection reset by peer"), True),
        (EOFError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("x"), False),
    ],
)
def test_a_worker_that_died_is_one_line(raised, told):
    """As torch raises it, in the main thread wherever that just is: a real worker may die anywhere, too."""
    with pytest.raises(DataError if told else type(raised)) as caught, loading.deaths_told():
        raise raised
    assert ("a worker process died" in str(caught.value)) is told


@pytest.mark.parametrize(
    ("budget", "number", "kept"), [(1 << 30, None, True), (1000, None, False), (1 << 30, errno.ENOSPC, False)]
)
def test_crops_that_have_no_room_are_decoded_at_each_use(budget, number, kept, prepared, monkeypatch):
    samples = PreparedData.load(prepared).samples("train")
    monkeypatch.setattr(loading, "_write_pixels", failing(number))
    with loading.decoded(samples, budget) as crops:
        assert crops.in_memory is kept
        assert np.array_equal(crops.stored(3), load_stored(samples[3]))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has a name while it is in use")
def test_pixels_have_no_name_that_a_killed_training_would_leave(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    samples = PreparedData.load(prepared).samples("train")
    with loading.decoded(samples, 1 << 30) as crops:
        assert crops.in_memory
        assert list((tmp_path / "tmp").iterdir()) == []
        views = loading.Views(crops, None, 0)
        (batch,) = batches(views, [[(0, 3)]], workers=1)
        assert batch[1].tolist() == [samples[3].label]


def test_without_proc_the_pixels_have_a_name_until_they_are_done_with(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(os, "getpid", lambda: 2**31)
    samples = PreparedData.load(prepared).samples("train")
    with loading.decoded(samples, 1 << 30) as crops:
        (folder,) = (tmp_path / "tmp").iterdir()
        assert np.array_equal(crops.stored(3), load_stored(samples[3]))
        assert (folder / "pixels.u8").stat().st_size > 0
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_disk_that_writes_a_part_at_a_time_loses_nothing(prepared, monkeypatch):
    samples = PreparedData.load(prepared).samples("train")

    class Slow(io.FileIO):
        def write(self, data):
            return super().write(data[:1000])

    def written(out, *arguments, write=loading._write_pixels):
        with Slow(os.dup(out.fileno()), "wb") as slow:
            return write(slow, *arguments)

    monkeypatch.setattr(loading, "_write_pixels", written)
    with loading.decoded(samples, 1 << 30) as crops:
        assert all(np.array_equal(crops.stored(i), load_stored(sample)) for i, sample in enumerate(samples))


def test_a_disk_that_fails_is_an_error(prepared, monkeypatch):
    samples = PreparedData.load(prepared).samples("train")
    monkeypatch.setattr(loading, "_write_pixels", failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), loading.decoded(samples, 1 << 30):
        pass


def failing(number, write=loading._write_pixels):
    """Return what writes pixels, and then fails with the system's error of a number, if there is one."""

    def written(*arguments):
        sides = write(*arguments)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return sides

    return written


def test_pairs_hold_a_framed_and_a_degraded_view(prepared):
    hard = dataclasses.replace(Degradations(), gray=1.0, colour=0.0)
    with loading.decoded(PreparedData.load(prepared).samples("train"), 1 << 20) as crops:
        single, pair = (loading.Views(crops, hard, 7, pairs=pairs)[3, 5][0] for pairs in (False, True))
        saturation = [np.ptp(view.astype(int), axis=2).mean() for view in pair]
    assert pair.shape == (2, 128, 128, 3)
    assert np.array_equal(pair[1], single)
    assert saturation[1] < saturation[0] / 2
