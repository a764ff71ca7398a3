import pickle

import cv2
import numpy as np
import pytest

from fauxface.errors import DataError
from fauxface_train.locator.backdrops import Backdrops, fur, shuffled, texture
from fauxface_train.locator.composites import Composer
from fauxface_train.locator.degrade import blur, degrade, relight, shade
from fauxface_train.locator.pasting import hide, paste
from fauxface_train.locator.pictures import Pictures, decoded, find_pictures


def composer(data, size=96):
    return Composer(
        Pictures(find_pictures(data / "faces")), Pictures(find_pictures(data / "backgrounds")), size
    )


def test_a_composite_depends_on_its_seed_alone(drawn_faces):
    first, second = composer(drawn_faces), composer(drawn_faces)
    pictures = [first.make((3, index)) for index in range(40)]
    assert all(p.shape == (96, 96, 3) and p.dtype == np.uint8 for p in pictures)
    again = {index: second.make((3, index)) for index in reversed(range(40))}
    assert all((pictures[index] == again[index]).all() for index in range(40))
    assert not (pictures[0] == first.make((4, 0))).all()


def test_a_worker_process_makes_the_same_composites(drawn_faces):
    maker = composer(drawn_faces, 64)
    sent = pickle.loads(pickle.dumps(maker))
    assert all((sent.make((1, index)) == maker.make((1, index))).all() for index in range(20))


def test_every_kind_of_composite_and_backdrop_has_the_size(drawn_faces):
    maker = composer(drawn_faces, 64)
    kinds = [*maker._kinds, *maker.backdrops._kinds]
    for shares in (maker._kinds, maker.backdrops._kinds):
        assert sum(share for share, _ in shares) == pytest.approx(1)
    for _, make in kinds:
        pictures = [make(np.random.default_rng(seed)) for seed in range(6)]
        assert {(p.shape, p.dtype.name) for p in pictures} == {((64, 64, 3), "uint8")}
        assert len({p.tobytes() for p in pictures}) > 1


def test_making_composites_leaves_the_pictures_as_they_are(drawn_faces):
    maker = composer(drawn_faces)
    for index in range(60):
        maker.make((0, index))
    fresh = Pictures(find_pictures(drawn_faces / "faces"))
    kept = maker.faces._kept
    assert kept
    assert all((picture == fresh._load(index)).all() for index, picture in kept.items())


@pytest.mark.parametrize("width", [4.0, 30.0, 200.0])
@pytest.mark.parametrize("centre", [(48, 48), (0, 96), (-400, 40)])
def test_a_pasted_face_stays_around_its_place(drawn_faces, width, centre):
    backdrops = composer(drawn_faces).backdrops
    face = np.full((80, 60, 3), 255, np.uint8)
    canvas = np.zeros((96, 96, 3), np.uint8)
    paste(canvas, face, np.random.default_rng(3), centre=centre, face_width=width, backdrops=backdrops)
    rows, columns = np.nonzero(canvas.any(2))
    assert len(rows) > 0 or centre[0] < 0
    # Half of the picture's diagonal, at 1.8 times the face's width and 4:3.
    reach = 1.1 * width * 1.8 * np.hypot(1, 80 / 60) / 2 + 3
    assert (np.hypot(columns - centre[0], rows - centre[1]) <= reach * 1.2).all()


def test_hiding_covers_a_part_and_leaves_the_original(drawn_faces):
    backdrops = composer(drawn_faces).backdrops
    face = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    original = face.copy()
    shares = [
        (hide(face, backdrops, np.random.default_rng(seed)) != face).any(2).mean() for seed in range(30)
    ]
    assert (face == original).all()
    assert max(shares) < 0.6
    assert np.mean([share > 0.01 for share in shares]) > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (300, 1), (1, 160)])
def test_a_picture_that_is_a_pixel_wide_can_be_hidden(shape, drawn_faces):
    backdrops = composer(drawn_faces).backdrops
    face = np.zeros((*shape, 3), np.uint8)
    for seed in range(30):
        assert hide(face, backdrops, np.random.default_rng(seed)).shape == face.shape


@pytest.mark.parametrize("make", [texture, fur])
@pytest.mark.parametrize("size", [32, 96])
def test_made_up_backdrops_differ(make, size):
    made = [make(size, np.random.default_rng(seed)) for seed in range(5)]
    assert all(p.shape == (size, size, 3) and p.dtype == np.uint8 for p in made)
    assert len({p.tobytes() for p in made}) == 5


def test_shuffling_keeps_the_patches():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    changed = shuffled(picture, np.random.default_rng(1))
    assert not (changed == picture).all()
    assert sorted(changed.reshape(-1, 3).tolist()) == sorted(picture.reshape(-1, 3).tolist())


@pytest.mark.parametrize("size", [(5, 9), (1, 512), (2000, 1), (9000, 8)])
def test_a_small_or_thin_background_still_gives_backdrops(size, tmp_path):
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((*size, 3), 7, np.uint8))
    backdrops = Backdrops(Pictures(find_pictures(tmp_path)), 64)
    for seed in range(40):
        assert backdrops.make(np.random.default_rng(seed)).shape == (64, 64, 3)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_relighting_changes_with_its_strength(strength):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    changed = relight(picture, np.random.default_rng(1), strength)
    difference = np.abs(changed.astype(int) - picture).max()
    assert difference <= 1 if strength == 0 else difference > 5


def test_shading_is_uneven_and_blurring_flattens():
    plain = np.full((40, 60, 3), 120, np.uint8)
    lit = [shade(plain, np.random.default_rng(seed)) for seed in range(8)]
    assert all(p.shape == plain.shape and p.dtype == np.uint8 and p.std() > 2 for p in lit)
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert all(blur(noise, np.random.default_rng(seed)).std() < noise.std() for seed in range(8))


def test_degrading_keeps_shape_and_type():
    rng = np.random.default_rng(0)
    results = [degrade(np.full((64, 64, 3), 120, np.uint8), rng) for _ in range(120)]
    assert {(r.shape, r.dtype.name) for r in results} == {((64, 64, 3), "uint8")}
    assert len({r.tobytes() for r in results}) > 40
    assert sum((r == 120).all() for r in results) > 10


def test_an_empty_file_or_a_folder_of_that_name_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").mkdir()
    assert find_pictures(tmp_path) == [tmp_path / "a.png"]
    assert decoded(tmp_path / "a.png") is None
    assert decoded(tmp_path / "b.png") is None


def test_a_file_that_is_no_picture_is_passed_over(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    assert cv2.imwrite(str(tmp_path / "b.png"), np.full((8, 8, 3), 7, np.uint8))
    pictures = Pictures(find_pictures(tmp_path))
    assert (pictures.pick(np.random.default_rng(0)) == 7).all()
    (tmp_path / "b.png").unlink()
    with pytest.raises(DataError, match="none of the 1 pictures"):
        Pictures(find_pictures(tmp_path)).pick(np.random.default_rng(0))


@pytest.mark.parametrize(("front", "share"), [(0.0, 0.125), (0.5, 0.3125), (1.0, 0.5)])
def test_the_first_pictures_can_be_drawn_more_often(tmp_path, front, share):
    for number in range(8):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((4, 4, 3), number, np.uint8))
    pictures = Pictures(find_pictures(tmp_path), front=front)
    rng = np.random.default_rng(0)
    drawn = np.array([pictures.pick(rng)[0, 0, 0] for _ in range(4000)])
    assert np.mean(drawn == 0) == pytest.approx(share, abs=0.03)
    assert set(drawn) == set(range(8))


def test_a_backdrop_shows_other_pictures_too(tmp_path):
    for name, tone in (("photographs", 40), ("faces", 200)):
        (tmp_path / name).mkdir()
        assert cv2.imwrite(str(tmp_path / name / "a.png"), np.full((64, 64, 3), tone, np.uint8))
    photographs, faces = (Pictures(find_pictures(tmp_path / name)) for name in ("photographs", "faces"))
    rng = np.random.default_rng(0)

    def share_of_faces(backdrops):
        return np.mean([backdrops.patch(8, 8, rng).mean() > 100 for _ in range(1000)])

    assert share_of_faces(Backdrops(photographs, 64)) == 0
    assert share_of_faces(Backdrops(photographs, 64, faces)) == pytest.approx(0.25, abs=0.05)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(DataError, match="no pictures below"):
        find_pictures(tmp_path)
