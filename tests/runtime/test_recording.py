import dataclasses

import pytest

from coloured_squares import RED, scene
from fauxface.errors import OutputError
from fauxface.recording import SEGMENT_S, Recording, free, reserved
from fauxface.results import Result
from fauxface.video import FrameReader

RESULT = Result("camera:0", 0, 0.0, None, (), "0" * 64)


def frames_of(path):
    with FrameReader(path) as reader:
        return sum(1 for _ in reader)


@pytest.mark.parametrize(
    ("live", "files"), [(True, {"cam.mp4": 2, "cam-2.mp4": 2, "cam-3.mp4": 1}), (False, {"cam.mp4": 5})]
)
def test_a_camera_gets_a_new_file_every_hour(tmp_path, live, files):
    times = iter([0.0, SEGMENT_S - 1, SEGMENT_S, SEGMENT_S + 1, 2 * SEGMENT_S + 1])
    with Recording(tmp_path / "cam.mp4", 10, live=live, clock=lambda: next(times)) as recording:
        for _ in range(5):
            recording.write(scene(RED), RESULT)
    assert {path.name: frames_of(path) for path in tmp_path.iterdir()} == files


def test_no_frame_makes_no_file(tmp_path):
    with Recording(tmp_path / "cam.mp4", 10, live=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_the_hours_before(tmp_path):
    times = iter([0.0, SEGMENT_S])

    def record():
        with Recording(tmp_path / "cam.mp4", 10, live=True, clock=lambda: next(times)) as recording:
            recording.write(scene(RED), RESULT)
            recording.write(scene(RED), RESULT)
            raise RuntimeError("unplugged")

    with pytest.raises(RuntimeError, match="unplugged"):
        record()
    assert {path.name: frames_of(path) for path in tmp_path.iterdir()} == {"cam.mp4": 1}


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    (tmp_path / "a.mp4").touch()
    names = [reserved(tmp_path / "a.mp4").name for _ in range(2)]
    assert names == ["a-2.mp4", "a-3.mp4"]
    (tmp_path / "a-3.mp4").write_bytes(b"x")
    for name in names:
        free(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-3.mp4", "a.mp4"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="choose a writable folder"):
        reserved(tmp_path / "none" / "a.mp4")


def test_recordings_of_one_folder_do_not_replace_each_other(tmp_path):
    """The second hour of one camera would have the name that another one began with."""
    times = iter([0.0, SEGMENT_S, SEGMENT_S])
    with Recording(tmp_path / "cam.mp4", 10, live=True, clock=lambda: next(times)) as first:
        first.write(scene(RED), RESULT)
        first.write(scene(RED), RESULT)
        second = reserved(tmp_path / "cam-2.mp4")
        with Recording(second, 10, live=True) as other:
            for _ in range(3):
                other.write(scene(RED), RESULT)
        first.write(scene(RED), RESULT)
    assert {path.name: frames_of(path) for path in tmp_path.iterdir()} == {
        "cam.mp4": 1,
        "cam-2.mp4": 2,
        "cam-2-2.mp4": 3,
    }


@pytest.mark.parametrize(
    ("times", "frames"),
    [
        ([0, 0.1, 0.2, 0.3], 4),
        ([0, 0.1, 0.4, 0.5], 6),
        ([5.0, 5.31, 5.6], 7),
        ([0, 0.1, 9000.0, 9000.1], 4),
        ([0, 0.02, 0.04, 0.06], 4),
        ([0, 0.104, 0.196, 0.303, 0.399], 5),
    ],
    ids=[
        "as the rate says",
        "one stands still",
        "a third of the rate",
        "an absurd jump",
        "faster",
        "rounded",
    ],
)
def test_frames_of_a_variable_rate_are_seen_at_their_times(tmp_path, times, frames):
    with Recording(tmp_path / "a.mp4", 10, live=False) as recording:
        for time_s in times:
            recording.write(scene(RED), dataclasses.replace(RESULT, time_s=time_s))
    assert frames_of(tmp_path / "a.mp4") == frames
