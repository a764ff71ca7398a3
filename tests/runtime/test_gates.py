import cv2
import numpy as np
import pytest

from fauxface.gates import Gates, roll, sharpness, yaw

MIDDLE = 64.0


def face(turned=0.0, tilted=0.0, eyes=40.0):
    """Five landmarks of a model head: turned to its own left, then tilted clockwise, in degrees."""
    turn, tilt = np.radians([turned, tilted])
    half = eyes / 2 * np.cos(turn)
    nose = eyes / 2 * np.sin(turn)
    points = np.array([(-half, 0), (half, 0), (nose, 22), (-half * 0.7, 40), (half * 0.7, 40)])
    turner = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    return tuple(map(tuple, (points @ turner.T + MIDDLE).tolist()))


@pytest.mark.parametrize("tilted", [-170, -90, -20, 0, 35, 100])
@pytest.mark.parametrize("turned", [-70, -30, 0, 10, 45, 85])
@pytest.mark.parametrize("eyes", [8.0, 60.0])
def test_pose_of_a_model_head_is_found_whatever_its_size(turned, tilted, eyes):
    points = face(turned, tilted, eyes)
    assert yaw(points) == pytest.approx(turned, abs=1e-6)
    assert roll(points) == pytest.approx(tilted, abs=1e-6)


def test_eyes_in_one_place_give_a_number():
    points = ((5.0, 5.0), (5.0, 5.0), (9.0, 9.0))
    assert -90 <= yaw(points) <= 90
    assert roll(points) == 0


def test_sharpness_falls_with_blur_and_is_zero_on_a_plain_colour():
    rng = np.random.default_rng(0)
    crop = cv2.resize(rng.integers(0, 256, (32, 32, 3), np.uint8), (128, 128), interpolation=cv2.INTER_LINEAR)
    values = [sharpness(cv2.GaussianBlur(crop, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert sharpness(np.full((128, 128, 3), 90, np.uint8)) == 0


def test_sharpness_is_the_variance_of_the_laplacian():
    crop = np.zeros((128, 128, 3), np.uint8)
    crop[64, 64] = 100
    # One bright pixel gives -400 where it is and 100 at its four neighbours.
    assert sharpness(crop) == pytest.approx((400**2 + 4 * 100**2) / 128**2)


PLAIN = np.full((128, 128, 3), 120, np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)


@pytest.mark.parametrize(
    ("gates", "crop", "landmarks", "reason"),
    [
        (Gates(), PLAIN, face(80, 80), None),
        (Gates(min_sharpness=0), PLAIN, (), None),
        (Gates(min_sharpness=12), PLAIN, face(), "face is blurred: sharpness 0, below 12"),
        (Gates(min_sharpness=12, max_yaw=40, max_roll=30), NOISE, face(39, 29), None),
        (Gates(max_yaw=40), NOISE, face(-50.5), "face is turned to the side: yaw 51 degrees, above 40"),
        (Gates(max_yaw=40), NOISE, face(40.2), "face is turned to the side: yaw 41 degrees, above 40"),
        (Gates(max_roll=30), NOISE, face(0, -119.5), "face is tilted: roll 120 degrees, above 30"),
        (Gates(max_yaw=40, max_roll=30), NOISE, (), None),
        (Gates(max_yaw=1, max_roll=1), NOISE, ((0, 0), (0, 0), (0, 0)), None),
    ],
)
def test_failure(gates, crop, landmarks, reason):
    assert gates.failure(crop, landmarks) == reason


def test_a_value_just_below_the_limit_is_not_shown_as_the_limit():
    crop = np.zeros((128, 128, 3), np.uint8)
    crop[64, 64] = 100
    measured = sharpness(crop)
    reason = Gates(min_sharpness=np.nextafter(measured, 99)).failure(crop)
    assert reason is not None
    assert reason.startswith("face is blurred: sharpness 12.2, below 12.2")
    assert Gates(min_sharpness=measured).failure(crop) is None


@pytest.mark.parametrize(
    "values",
    [
        {"min_sharpness": -1},
        {"min_sharpness": float("nan")},
        {"min_sharpness": float("inf")},
        {"max_yaw": 0},
        {"max_yaw": 91},
        {"max_yaw": float("nan")},
        {"max_roll": 0.5},
        {"max_roll": 181},
    ],
)
def test_gates_refuse(values):
    with pytest.raises(ValueError, match="must lie in"):
        Gates(**values)


def test_gates_are_false_without_a_limit_and_survive_json():
    assert not Gates()
    assert Gates().to_dict() == {}
    gates = Gates(min_sharpness=0, max_roll=45)
    assert gates
    assert Gates(**gates.to_dict()) == gates
