import errno
import os
import shutil
import signal
import time
from pathlib import Path

import cv2
import pytest

from fauxface import images
from fauxface import output as output_module
from fauxface import scanner as scanner_module
from fauxface.errors import VideoError
from fauxface.output import alone
from fauxface.scanner import Scanner
from fauxface.table import Table, Tally
from fauxface.video import Frame, FrameReader, FrameWriter
from memory_errors import SHORT
from scan_files import clip, records, scene, tree


@pytest.mark.parametrize(("every", "frames"), [(1, [0, 1, 2, 3, 4, 5]), (4, [0, 4])])
def test_video(scan, every, frames):
    clip(Path("v.mp4"))
    code, out, _ = scan("v.mp4", "--every", every, "--jsonl", "r.jsonl", "--annotate", "seen")
    assert code == 0
    found = records("r.jsonl")
    assert [r["frame"] for r in found] == frames
    assert [r["time_s"] for r in found] == [i / 10 for i in frames]
    assert f"v.mp4: {len(frames)} frames, {len(frames)} faces" in out
    with FrameReader("seen/v.mp4") as reader:
        assert reader.fps == pytest.approx(10 / every)
        assert len(list(reader)) == len(frames)


def test_video_that_breaks_off_keeps_what_it_has(scan):
    writer = cv2.VideoWriter("v.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (200, 160))
    for _ in range(40):
        writer.write(scene()[..., ::-1])
    writer.release()
    data = Path("v.avi").read_bytes()
    Path("v.avi").write_bytes(data[: len(data) // 2])
    code, _, err = scan("v.avi", "--out", "out")
    assert code == 1
    assert "error: VideoError: " in err
    found = records("out/results.jsonl")
    assert 5 < len(found) < 40
    assert [r["frame"] for r in found] == [*range(len(found) - 1), None]
    assert found[-1]["error"]["type"] == "VideoError"
    assert tree("out") == ["annotated/v.avi.mp4", "results.jsonl"]
    Path("in").mkdir()
    shutil.move("v.avi", "in/v.avi")
    assert scan("in", "--jsonl", "r.jsonl")[0] == 3
    assert scan("in", "--jsonl", "r.jsonl")[0] == 3


@pytest.mark.parametrize("error", SHORT, ids=str)
def test_a_video_that_does_not_fit_the_memory_is_that_video_s_error(error, scan, monkeypatch):
    def scan_frames(*_, **__):
        yield from ()
        raise error

    Path("in").mkdir()
    clip("in/clip.mp4")
    images.write("in/a.png", scene())
    monkeypatch.setattr(Scanner, "scan_frames", scan_frames)
    code, _, err = scan("in/clip.mp4")
    assert (code, err.count("clip.mp4: its frames don't fit the memory; scale it down")) == (1, 1)
    assert scan("in", "--jsonl", "out.jsonl")[0] == 3
    assert [record["error"] and record["error"]["type"] for record in records("out.jsonl")] == [
        None,
        "VideoError",
    ]


class FakeCamera:
    """Delivers frames without end, faster than they can be judged."""

    fps, frame_count = 20.0, None

    def __init__(self, source, every=1, threads=None):
        self.every = every

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        for i in range(0, 10**6, self.every):
            time.sleep(0.001)
            yield Frame(i, i / 20, scene())


@pytest.mark.parametrize("every", [1, 3])
def test_camera_stops_after_max_frames(scan, monkeypatch, every):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    code, out, _ = scan("camera:0", "--max-frames", 4, "--every", every, "--out", "out")
    assert code == 0
    found = records("out/results.jsonl")
    indices = [r["frame"] for r in found]
    assert {r["source"] for r in found} == {"camera:0"}
    assert len(indices) == 4
    # Frames that come while another one is judged are dropped.
    assert indices == sorted({i for i in indices if i % every == 0})
    assert tree("out") == ["annotated/camera-0.mp4", "results.jsonl"]
    assert "camera:0 frame" in out
    code, _, err = scan("camera:0", "--max-frames", 4, "--every", every, "--out", "out")
    assert code == 1
    assert "already holds results of camera:0" in err


class Unplugged(FakeCamera):
    """Delivers three frames, each once the one before was judged, and nothing more."""

    def __iter__(self):
        for i in range(3):
            time.sleep(0.2)
            yield Frame(i, i / 20, scene())
        raise VideoError("camera:0: stopped delivering after 3 frames; check the camera or the network")


def test_a_camera_that_stops_leaves_what_it_gave_and_its_error(scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", Unplugged)
    code, _, err = scan("camera:0", "--out", "out")
    assert code == 1
    assert "stopped delivering after 3 frames" in err
    found = records("out/results.jsonl")
    assert [record["frame"] for record in found] == [0, 1, 2, None]
    assert found[-1]["error"]["type"] == "VideoError"
    with FrameReader("out/annotated/camera-0.mp4") as reader:
        assert len(list(reader)) == 3


def test_interrupting_a_camera_completes_its_files(scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    row = Table.result

    def interrupt(self, result):
        row(self, result)
        interrupt.rows += 1
        if interrupt.rows == 3:
            raise KeyboardInterrupt

    interrupt.rows = 0
    monkeypatch.setattr(Table, "result", interrupt)
    code, _, err = scan("camera:0", "--out", "out")
    assert code == 130
    assert err.startswith("interrupted")
    assert len(records("out/results.jsonl")) == 3
    with FrameReader("out/annotated/camera-0.mp4") as reader:
        assert len(list(reader)) == 3


@pytest.fixture(params=["SIGTERM", "SIGHUP"])
def to_end(request):
    """Return a signal that ends a process, which `nohup` may have told this one to ignore."""
    number = getattr(signal, request.param)
    before = signal.signal(number, signal.SIG_DFL)
    yield number
    signal.signal(number, before)


def test_a_signal_to_end_completes_a_camera_s_files(to_end, scan, monkeypatch):
    """What a service manager sends to a kiosk's scan ends it as Ctrl-C does."""
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    row = Table.result

    def kill(self, result):
        row(self, result)
        kill.rows += 1
        if kill.rows == 3:
            os.kill(os.getpid(), to_end)

    kill.rows = 0
    monkeypatch.setattr(Table, "result", kill)
    assert scan("camera:0", "--out", "out")[0] == 130
    assert len(records("out/results.jsonl")) == 3
    with FrameReader("out/annotated/camera-0.mp4") as reader:
        assert len(list(reader)) == 3
    assert signal.getsignal(to_end) is signal.SIG_DFL


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("hung_up", [False, True], ids=["broken pipe", "dead terminal"])
def test_a_table_that_cannot_be_printed_loses_nothing_of_a_camera(hung_up, scan, monkeypatch):
    """As behind `| head`, or in a terminal that was closed, which sends SIGHUP before its writes fail."""
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    printed = []

    def fail(self, text):
        printed.append(text)
        if len(printed) == 4:  # the heading and three rows
            raise KeyboardInterrupt if hung_up else BrokenPipeError(errno.EPIPE, "Broken pipe")
        if len(printed) > 4:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Table, "_print", fail)
    assert scan("camera:0", "--out", "out")[0] == 1
    assert len(records("out/results.jsonl")) == 3
    assert tree("out") == ["annotated/camera-0.mp4", "results.jsonl"]
    with FrameReader("out/annotated/camera-0.mp4") as reader:
        assert len(list(reader)) == 3


def test_a_full_disk_behind_a_camera_s_lines_keeps_its_video(scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output_module, "_write_whole", full)
    code, _, err = scan("camera:0", "--out", "out")
    assert code == 1
    assert "results.jsonl.part: No space left on device; make room, then rename it" in err
    assert tree("out") == ["annotated/camera-0.mp4", "results.jsonl.part"]


def test_a_second_interruption_does_not_keep_a_camera_s_files_from_their_end(scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    monkeypatch.setattr(Table, "result", interrupt)
    before = signal.getsignal(signal.SIGINT)
    leave = FrameWriter.__exit__

    def again(self, *error):
        signal.raise_signal(signal.SIGINT)
        leave(self, *error)

    monkeypatch.setattr(FrameWriter, "__exit__", again)
    monkeypatch.setattr(FakeCamera, "__exit__", lambda *_: signal.raise_signal(signal.SIGINT))
    assert scan("camera:0", "--out", "out")[0] == 130
    assert len(records("out/results.jsonl")) == 1
    assert tree("out") == ["annotated/camera-0.mp4", "results.jsonl"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_camera_s_interrupted_scan_is_not_said_to_be_resumable(scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    monkeypatch.setattr(Tally, "add", interrupt)
    code, _, err = scan("camera:0", "--jsonl", "r.jsonl")
    assert code == 130
    assert "results so far are in r.jsonl.part; rename it, since cameras" in err
    assert len(records("r.jsonl.part")) == 1


def test_a_camera_that_is_being_scanned_did_not_break_off(scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    assert scan("camera:0", "--max-frames", 1, "--jsonl", "r.jsonl")[0] == 0
    Path("r.jsonl").rename("r.jsonl.part")
    with alone(Path("r.jsonl")):
        code, _, err = scan("camera:0", "--jsonl", "r.jsonl")
    assert code == 1
    assert "another scan is writing r.jsonl" in err
    assert tree(".") == ["r.jsonl.part"]


@pytest.mark.parametrize("name", ["camera:0", "/dev/video9876", "/dev/v4l/by-id/gone"])
@pytest.mark.parametrize("again", ["a.png", "b.png"], ids=["nothing to do", "another file"])
def test_later_scans_keep_a_camera_s_lines(again, name, scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    for file in ("a.png", "b.png"):
        images.write(file, scene())
    assert scan("a.png", "--jsonl", "r.jsonl")[0] == 0
    assert scan("camera:0", "--max-frames", 2, "--jsonl", "r.jsonl")[0] == 0
    lines = Path("r.jsonl").read_text().replace("camera:0", name)
    Path("r.jsonl").unlink()
    Path("r.jsonl.part").write_text(lines)
    code, out, _ = scan(again, "--jsonl", "r.jsonl")
    assert code == 0
    assert ("nothing to do" in out) == (again == "a.png")
    assert Path("r.jsonl").read_text().startswith(lines)


@pytest.mark.parametrize("again", ["camera:0", "camera:1"])
def test_what_a_camera_s_scan_had_recorded_when_the_power_went_is_kept(again, scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    assert scan("camera:0", "--max-frames", 3, "--jsonl", "r.jsonl")[0] == 0
    part = Path("r.jsonl").rename("r.jsonl.part")
    before = part.read_bytes()
    code, _, err = scan(again, "--max-frames", 2, "--jsonl", "r.jsonl")
    if again == "camera:0":
        assert code == 1
        assert "r.jsonl.part holds what a scan of camera:0 recorded before it broke off; rename it" in err
        assert part.read_bytes() == before
    else:
        assert code == 0
        assert [r["source"] for r in records("r.jsonl")] == ["camera:0"] * 3 + ["camera:1"] * 2


def test_a_camera_s_annotated_video_is_not_overwritten(scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    for day in ("monday", "tuesday"):
        code, *_ = scan("camera:0", "--max-frames", 2, "--jsonl", f"{day}.jsonl", "--annotate", "seen")
        assert code == 0
    assert tree("seen") == ["camera-0-2.mp4", "camera-0.mp4"]


@pytest.mark.parametrize(("rate", "written"), [(1000.0, 2.5), (None, 2.5), (50.0, 5.0)])
def test_a_rate_that_cannot_be_is_replaced_before_frames_are_skipped(rate, written, scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    monkeypatch.setattr(FakeCamera, "fps", rate)
    assert scan("camera:0", "--max-frames", 2, "--every", 10, "--annotate", "seen")[0] == 0
    with FrameReader("seen/camera-0.mp4") as reader:
        assert reader.fps == pytest.approx(written)


def test_password_is_written_nowhere(scan, monkeypatch):
    monkeypatch.setattr(scanner_module, "FrameReader", FakeCamera)
    code, out, err = scan("rtsp://me:secret@host/live", "--max-frames", 2, "--out", "out")
    assert code == 0
    written = out + err + Path("out/results.jsonl").read_text() + " ".join(tree("out"))
    assert "secret" not in written
    assert "rtsp://me:***@host/live" in written
