import cv2
import numpy as np
import pytest

from fauxface.crops import Square, extract, to_input
from fauxface.errors import DataError
from fauxface_train import augment
from fauxface_train.presets import Degradations, preset

OFF = Degradations(
    margin=(1.0, 1.0),
    shift=0.0,
    rotate=0.0,
    edge=0.0,
    backdrop=0.0,
    badge=0.0,
    colour=0.0,
    gray=0.0,
    equalise=0.0,
    sharpen=0.0,
    rounds=(1.0, 0.0, 0.0),
    cutout=0.0,
)
SQUARE = Square(20, 20, 160)


@pytest.fixture(scope="module")
def stored():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 0.8)


def _changed(**fields):
    return Degradations(**{name: getattr(OFF, name) for name in Degradations.__slots__} | fields)


def _laplacian(crop):
    return cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var()


def test_everything_off_is_the_runtime_crop_or_its_mirror(stored):
    runtime = to_input(extract(stored, SQUARE))
    seen = set()
    for seed in range(12):
        view = augment.degraded(stored, SQUARE, np.random.default_rng(seed), OFF)
        mirrored = np.array_equal(view, runtime[:, ::-1])
        assert mirrored or np.array_equal(view, runtime)
        seen.add(mirrored)
    assert seen == {True, False}
    assert np.array_equal(augment.nominal(stored, SQUARE), runtime)


def test_article_only_flips(stored):
    runtime = to_input(extract(stored, SQUARE))
    views = [augment.flipped(stored, SQUARE, np.random.default_rng(seed)) for seed in range(12)]
    flips = [np.array_equal(view, runtime[:, ::-1]) for view in views]
    assert all(flip or np.array_equal(view, runtime) for flip, view in zip(flips, views, strict=True))
    assert 0 < sum(flips) < 12


@pytest.mark.parametrize("side", [40, 97, 128, 200, 320])
def test_views_are_well_formed_and_leave_the_picture_alone(side):
    stored = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stored.flags.writeable = False
    room = round(side / 10)
    for seed in range(60):
        view = augment.degraded(
            stored, Square(room, room, side - 2 * room), np.random.default_rng(seed), Degradations()
        )
        assert view.shape == (128, 128, 3)
        assert view.dtype == np.uint8
        assert view.flags.c_contiguous


def test_a_seed_decides_alone(stored):
    first = [augment.degraded(stored, SQUARE, np.random.default_rng(s), Degradations()) for s in range(20)]
    again = [augment.degraded(stored, SQUARE, np.random.default_rng(s), Degradations()) for s in range(20)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({view.tobytes() for view in first}) == 20


@pytest.mark.parametrize(
    "fields",
    [
        {"margin": (0.86, 0.9)},
        {"shift": 0.05},
        {"rotate": 1.0},
        {"edge": 1.0},
        {"backdrop": 1.0},
        {"badge": 1.0},
        {"colour": 1.0},
        {"gray": 1.0},
        {"equalise": 1.0},
        {"sharpen": 1.0},
        {"rounds": (0.0, 1.0, 0.0), "rescale": 1.0, "blur": 0.0, "noise": 0.0, "jpeg": 0.0, "webp": 0.0},
        {"rounds": (0.0, 1.0, 0.0), "rescale": 0.0, "blur": 1.0, "noise": 0.0, "jpeg": 0.0, "webp": 0.0},
        {"rounds": (0.0, 1.0, 0.0), "rescale": 0.0, "blur": 0.0, "noise": 1.0, "jpeg": 0.0, "webp": 0.0},
        {"rounds": (0.0, 1.0, 0.0), "rescale": 0.0, "blur": 0.0, "noise": 0.0, "jpeg": 1.0, "webp": 0.0},
        {"rounds": (0.0, 1.0, 0.0), "rescale": 0.0, "blur": 0.0, "noise": 0.0, "jpeg": 0.0, "webp": 1.0},
        {"cutout": 1.0},
    ],
    ids=lambda fields: "+".join(k for k, v in fields.items() if v != 0.0),
)
def test_each_step_does_something_and_keeps_the_face(stored, fields):
    runtime = to_input(extract(stored, SQUARE)).astype(float)
    changed = 0
    for seed in range(20):
        view = augment.degraded(stored, SQUARE, np.random.default_rng(seed), _changed(**fields)).astype(float)
        same = min(np.abs(view - runtime).mean(), np.abs(view - runtime[:, ::-1]).mean())
        changed += same > 0.1
        assert view.std() > 3
    assert changed >= 15


def test_gray_has_one_tone():
    stored = np.random.default_rng(1).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    channels = [
        augment.degraded(stored, Square(16, 16, 128), np.random.default_rng(seed), _changed(gray=1.0))
        for seed in range(30)
    ]
    plain = [np.ptp(view.astype(int), axis=2).max() == 0 for view in channels]
    assert 8 <= sum(plain) < 30


def test_equalising_softens_the_sharp_and_spares_the_soft(stored):
    soft = cv2.GaussianBlur(stored, (0, 0), 6)
    before_sharp, before_soft = (_laplacian(augment.nominal(p, SQUARE)) for p in (stored, soft))
    assert before_sharp > 2 * 400 > 15 > before_soft
    settings = _changed(equalise=1.0)
    for seed in range(20):
        rng = np.random.default_rng
        assert _laplacian(augment.degraded(stored, SQUARE, rng(seed), settings)) < 0.8 * before_sharp
        assert _laplacian(augment.degraded(soft, SQUARE, rng(seed), settings)) == pytest.approx(
            before_soft, rel=0.01
        )


def test_sharpness_stops_telling_the_labels_apart(stored):
    """A fourfold gap in sharpness must shrink to overlapping distributions."""
    soft = cv2.GaussianBlur(stored, (0, 0), 1.2)
    assert _laplacian(augment.nominal(stored, SQUARE)) > 4 * _laplacian(augment.nominal(soft, SQUARE))
    values = [
        [
            _laplacian(augment.degraded(p, SQUARE, np.random.default_rng([k, s]), Degradations()))
            for s in range(250)
        ]
        for k, p in enumerate((soft, stored))
    ]
    overlap = np.mean(np.asarray(values[1])[:, None] > np.asarray(values[0])[None])
    assert overlap < 0.85


@pytest.mark.parametrize("quality", [30, 98])
def test_codecs_keep_the_colour_order(quality):
    red = np.zeros((128, 128, 3), np.uint8)
    red[..., 0] = 200
    settings = Degradations(quality=(quality, quality))
    for kind in (".jpg", ".webp"):
        mean = augment._coded(red, kind, np.random.default_rng(0), settings).reshape(-1, 3).mean(0)
        assert mean == pytest.approx([200, 0, 0], abs=8)


def test_scaled_degradations_change_every_probability_but_framing():
    settings = Degradations()
    half, none = settings.scaled(0.5), settings.scaled(0)
    assert settings.scaled(1).rounds == pytest.approx(settings.rounds)
    assert half.edge == settings.edge / 2
    assert half.rounds[1:] == tuple(share / 2 for share in settings.rounds[1:])
    assert sum(half.rounds) == pytest.approx(1)
    assert none.rounds == (1, 0, 0)
    assert (none.margin, none.shift, none.rotate) == (settings.margin, settings.shift, settings.rotate)
    assert preset("robust").degradations.scaled(2.5).jpeg == settings.jpeg
    assert preset("robust").degradations.scaled(2.5).rounds == pytest.approx(settings.rounds)
    for strength in (-0.1, 1.3, float("nan")):
        with pytest.raises(DataError, match="strength"):
            settings.scaled(strength)


def test_a_share_of_the_framing_narrows_it_about_a_scan_s():
    settings = Degradations()
    half = settings.framed(0.5)
    assert half.margin == pytest.approx((0.93, 1.1))
    assert (half.shift, half.rotate) == (settings.shift / 2, settings.rotate / 2)
    assert settings.framed(1) == settings
    assert (half.edge, half.rounds) == (settings.edge, settings.rounds)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(DataError, match="check --framing"):
            settings.framed(share)


@pytest.mark.parametrize(("side", "square"), [(100, Square(10, 20, 67)), (300, Square(20, 25, 255))])
def test_without_framing_and_degradations_a_view_is_a_scan_s_crop_or_its_mirror_image(side, square):
    stored = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    plain, seen = Degradations().scaled(0).framed(0), set()
    wanted = augment.nominal(stored, square)
    for seed in range(8):
        view = augment.degraded(stored, square, np.random.default_rng(seed), plain)
        mirrored = np.array_equal(view, wanted[:, ::-1])
        assert mirrored or np.array_equal(view, wanted)
        seen.add(mirrored)
    assert seen == {True, False}


def test_the_drawn_frame_is_what_a_view_shows():
    stored = np.zeros((100, 100, 3), np.uint8)
    stored[48:52, 48:52] = 255
    settings = _changed(margin=(0.86, 1.2), shift=0.05)
    for seed in range(20):
        x, y, side = augment.frame(Square(10, 10, 80), np.random.default_rng(seed), settings)
        view = augment.degraded(stored, Square(10, 10, 80), np.random.default_rng(seed), settings)
        rows, columns = np.nonzero(view[..., 0] > 100)
        seen = (columns.mean() + 0.5) / 128 - 0.5, (rows.mean() + 0.5) / 128 - 0.5
        assert abs(seen[1] - (50 - y) / side) < 0.02
        assert abs(abs(seen[0]) - abs(50 - x) / side) < 0.02, "mirrored or not"
        assert 0.86 * 80 <= side <= 1.2 * 80
