from dataclasses import replace

import pytest

from fauxface.bench.budget import budgets
from fauxface.bench.configurations import Configuration
from fauxface.bench.results import Round

FP32, INT8 = Configuration("cpu", "fp32", 2), Configuration("cpu", "int8", 2)


def test_who_holds_the_rate_and_by_how_much(make):
    # A frame takes 4 ms for the locator and 10 or 3 ms for each of three faces; 30 frames/s leave 33.3 ms.
    best, worst = budgets(make({FP32: 10.0, INT8: 3.0}, scenarios=(), target_fps=30.0, faces=3))
    assert (best.configuration, best.holds) == (INT8, True)
    assert best.headroom == pytest.approx(1 - 13 * 30 / 1000)
    assert best.faces_held == 9
    assert best.frames_per_s == pytest.approx(1000 / 13)
    assert (worst.configuration, worst.holds) == (FP32, False)
    assert worst.headroom == pytest.approx(1 - 34 * 30 / 1000)
    assert worst.faces_held == 2
    assert (worst.locate_ms, worst.face_ms, worst.frame_ms) == pytest.approx((4, 10, 34))


@pytest.mark.parametrize(("fps", "held"), [(1000, 0), (100, 0), (50, 1), (10, 9)])
def test_faces_that_would_hold(make, fps, held):
    (answer,) = budgets(make({FP32: 10.0}, scenarios=(), target_fps=float(fps), faces=2))
    assert answer.faces_held == held


def test_faces_that_take_no_time_give_no_estimate(make):
    (answer,) = budgets(make({FP32: 0.0}, scenarios=(), target_fps=30.0, faces=2))
    assert answer.faces_held is None
    assert answer.holds


def test_without_a_target_there_is_no_answer(make):
    assert budgets(make()) == []


@pytest.mark.parametrize(("tail_ms", "fps", "held"), [(25.0, 38.0, 3), (30.0, 38.0, 1)])
def test_what_was_measured_outweighs_the_estimate(make, tail_ms, fps, held):
    """Alone the locator's tail is long, with faces it isn't: the line through both would contradict."""
    report = make({FP32: 5.0}, scenarios=(), target_fps=fps, faces=3)
    times = {0: (5.0, 20.0), 3: (20.0, tail_ms)}
    measurements = tuple(
        replace(m, rounds=(Round(1.0, (*[1000 * times[m.faces][0]] * 98, *[1000 * times[m.faces][1]] * 2)),))
        for m in report.measurements
    )
    (answer,) = budgets(replace(report, measurements=measurements))
    assert answer.holds == (held == 3)
    assert answer.faces_held == held
    assert answer.frames == 100
