import os

import numpy as np
import pytest

from fauxface.errors import OutputError
from fauxface.video import FALLBACK_FPS, FrameReader, FrameWriter, writable_size


@pytest.mark.parametrize("size", [(96, 64), (97, 63), (95, 64), (1, 1), (33, 3)])
def test_written_video_reads_back_with_even_sides(tmp_path, size):
    width, height = size
    path = tmp_path / "new" / "out.mp4"
    colour = np.array((200, 40, 90), np.uint8)
    with FrameWriter(path, 30, size) as writer:
        for _ in range(5):
            writer.write(np.tile(colour, (height, width, 1)))
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]
    with FrameReader(path) as reader:
        frames = list(reader)
    assert len(frames) == 5
    assert frames[0].image.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(frames[0].image.astype(int) - colour).max() < 24


@pytest.mark.parametrize(
    ("size", "written"),
    [
        ((1920, 1080), (1920, 1080)),
        ((8192, 4096), (8190, 4095)),
        ((8, 16384), (4, 8190)),
        ((20000, 1), (8190, 1)),
    ],
)
def test_frames_that_are_too_large_are_written_smaller(tmp_path, size, written):
    assert writable_size(*size) == written
    with FrameWriter(tmp_path / "out.mp4", 25, written) as writer:
        writer.write(np.zeros((*written[::-1], 3), np.uint8))
    assert (tmp_path / "out.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    ("fps", "size", "written"),
    [(0.0005, (64, 64), 0.01), (0.02, (64, 64), 0.02), (0.05, (2, 2), 0.25), (0.002, (16, 16), 0.01)],
)
def test_rates_that_opencv_cannot_write_are_raised(tmp_path, fps, size, written):
    with FrameWriter(tmp_path / "out.mp4", fps, size) as writer:
        for _ in range(2):
            writer.write(np.zeros((*size[::-1], 3), np.uint8))
    assert writer.fps == written
    with FrameReader(tmp_path / "out.mp4") as reader:
        assert len(list(reader)) == 2
        assert reader.fps == pytest.approx(written, rel=0.01)


def test_folder_whose_name_is_not_utf8_is_written(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9") / "out.mp4"
    with FrameWriter(path, 25, (32, 32)) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    with FrameReader(path) as reader:
        assert len(list(reader)) == 1
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    ("fps", "written"),
    [
        (None, FALLBACK_FPS),
        (0, FALLBACK_FPS),
        (-3, FALLBACK_FPS),
        (float("nan"), FALLBACK_FPS),
        (float("inf"), FALLBACK_FPS),
        (90_000, FALLBACK_FPS),
        (29.97, 29.97),
        (5, 5),
        (200 / 3, 66.67),
        (119.88012, 119.88),
        (239.7604, 239.76),
    ],
)
def test_absurd_frame_rates_fall_back(tmp_path, fps, written):
    path = tmp_path / "out.mp4"
    with FrameWriter(path, fps, (32, 32)) as writer:
        for _ in range(3):
            writer.write(np.zeros((32, 32, 3), np.uint8))
    with FrameReader(path) as reader:
        assert reader.fps == pytest.approx(written, rel=1e-4)


def test_writer_leaves_nothing_behind_on_an_error(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")

    def fail() -> None:
        with FrameWriter(path, 25, (32, 32)) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_bytes() == b"older"
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_writer_refuses_what_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cases = [("a.avi", (32, 32), "suffix .mp4"), ("file/a.mp4", (32, 32), "can't write")]
    cases += [
        ("empty.mp4", (32, 32), "no frame"),
        ("large.mp4", (70_000, 2), "no mp4 writer|incomplete|no frame"),
    ]
    for name, size, message in cases:
        with pytest.raises(OutputError, match=message) as caught, FrameWriter(tmp_path / name, 25, size):
            pass
        assert str(caught.value).isprintable()
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_writer_refuses_other_frames(tmp_path):
    image = np.zeros((32, 48, 3), np.uint8)
    with FrameWriter(tmp_path / "a.mp4", 25, (48, 32)) as writer:
        writer.write(image)
        for wrong in (image[:-1], image.astype(np.float32), image[:, :, 0], image.transpose(1, 0, 2)):
            with pytest.raises(ValueError, match="frame must be uint8"):
                writer.write(wrong)
    with pytest.raises(ValueError, match="isn't open"):
        writer.write(image)
    with pytest.raises(ValueError, match="size"):
        FrameWriter(tmp_path / "b.mp4", 25, (0, 4))


def test_incomplete_file_is_not_kept(tmp_path, monkeypatch):
    from fauxface import containers, video

    monkeypatch.setattr(video, "inspect", lambda _: containers.Layout("mp4", False))
    with (
        pytest.raises(OutputError, match="incomplete"),
        FrameWriter(tmp_path / "a.mp4", 25, (32, 32)) as writer,
    ):
        writer.write(np.zeros((32, 32, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
