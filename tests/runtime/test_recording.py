import pytest

from coloured_squares import RED, scene
from fauxface.recording import SEGMENT_S, Recording, unused
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
    assert unused(tmp_path / "a.mp4") == tmp_path / "a.mp4"
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a-2.mp4").touch()
    assert unused(tmp_path / "a.mp4") == tmp_path / "a-3.mp4"
