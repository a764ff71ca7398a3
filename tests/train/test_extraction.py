import numpy as np
import pytest

from fauxface import crops
from fauxface.locator import Location
from fauxface_train import extraction


@pytest.mark.parametrize("side", [40, 127, 255, 256, 257, 511, 512, 515, 1023, 1400])
@pytest.mark.parametrize("corner", [(-30, 5), (300, 301), (7, 640)])
def test_a_stored_crop_gives_the_runtimes_input(side: int, corner: tuple[int, int]):
    image = np.random.default_rng(side).integers(0, 256, (1500, 1600, 3), np.uint8)
    nominal = crops.Square(*corner, side)
    grown = round(side * extraction.ROOM)
    room = crops.Square(corner[0] - (grown - side) // 2, corner[1] - (grown - side + 1) // 2, grown)
    stored, square = extraction.stored_crop(image, nominal, room)
    assert square.side < 256
    assert max(square.x, square.y) + square.side <= stored.shape[0] == stored.shape[1]
    np.testing.assert_array_equal(
        crops.to_input(crops.extract(stored, square)), crops.to_input(crops.extract(image, nominal))
    )
    if side < 256:
        np.testing.assert_array_equal(stored, crops.extract(image, room))


def test_the_main_face_is_large_and_central():
    def face(x: float, y: float, side: float) -> Location:
        return Location((x, y, side, side), (), 0.9)

    centre, corner, tiny = face(80, 80, 40), face(0, 0, 44), face(98, 98, 4)
    assert extraction.main_face([corner, centre, tiny], 200, 200) is centre
    assert extraction.main_face([face(0, 0, 120), tiny], 200, 200).box[2] == 120


def test_a_file_longer_than_any_picture_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "huge.tif"
    path.write_bytes(b"II\x2a\x00" + bytes(100))
    monkeypatch.setattr(extraction.images, "MOST_BYTES", 100)
    found = extraction.extract_file(path, extraction.CropRule(), None, tmp_path / "work")
    assert found.status == extraction.UNREADABLE
    assert "more than 100 bytes" in found.reason
