import dataclasses
from pathlib import Path

import pytest

from fauxface.bench.compare import compare
from fauxface.bench.configurations import Configuration
from fauxface.bench.results import BenchReport, Round
from fauxface.errors import BenchmarkError

FP32, INT8 = Configuration("cpu", "fp32", 2), Configuration("cpu", "int8", 2)


def by_figure(comparison):
    return {(r.configuration, r.scenario, r.load, r.figure): r for r in comparison.ratios}


def test_twice_as_fast_is_a_ratio_of_two_in_every_figure(make):
    wanted = {"scenarios": ("single-stream", "offline"), "batches": (1,), "tails": True, "seconds": 0.2}
    slow, fast = make({FP32: 9.0}, **wanted), make({FP32: 4.0}, **wanted)
    ratios = compare(slow, fast).ratios
    assert [(r.scenario, r.figure) for r in ratios] == [
        ("single-stream", "p50_ms"),
        ("single-stream", "p99_ms"),
        ("offline", "faces_per_s"),
    ]
    for ratio in ratios:
        assert ratio.speed == pytest.approx(2, rel=1e-3)
        assert ratio.low == pytest.approx(2, rel=1e-3)
        assert ratio.verdict == "faster"
    assert {r.verdict for r in compare(fast, slow).ratios} == {"slower"}


def test_a_tail_is_compared_where_every_round_reaches_it(make):
    queries = {"scenarios": ("single-stream",), "tails": True}
    many, few = make({FP32: 9.0}, seconds=0.2, **queries), make({FP32: 9.0}, seconds=0.05, **queries)
    assert few.measurements[0].summary()["p99_ms"] is not None, "all rounds together do"
    assert [r.figure for r in compare(many, few).ratios] == ["p50_ms"]


def test_a_run_against_itself_shows_no_difference(make):
    comparison = compare(make(), make())
    assert all(ratio.speed == 1 for ratio in comparison.ratios)
    assert {ratio.verdict for ratio in comparison.ratios} == {"no difference shown"}
    assert (comparison.differences, comparison.only_a, comparison.only_b) == ((), (), ())
    assert (comparison.doubts_a, comparison.doubts_b) == ((), ())


def test_a_published_result_is_read():
    published = BenchReport.read(Path(__file__).parents[3] / "benchmarks/results/openvino.json")
    comparison = compare(published, published)
    assert {ratio.verdict for ratio in comparison.ratios} == {"no difference shown"}
    assert comparison.doubts_a == comparison.doubts_b


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("machine", {"gpus": ("Orin",)}, "GPU: none -> Orin"),
        ("machine", {"board": "Jetson"}, "board: none -> Jetson"),
        ("settings", {"seconds": 2.0}, "--seconds: 0.05 -> 2.0"),
        ("settings", {"frames": 24}, "--frames: 10 -> 24"),
        ("settings", {"target_fps": 30.0}, "--target-fps: none -> 30.0"),
        ("settings", {"tails": True}, "--quick: yes -> no"),
    ],
)
def test_other_hardware_and_settings_are_told(report, part, change, told):
    other = dataclasses.replace(report, **{part: dataclasses.replace(getattr(report, part), **change)})
    assert compare(report, other).differences == (told,)


def test_what_makes_either_run_doubtful_is_told(report):
    busy = dataclasses.replace(report, machine=dataclasses.replace(report.machine, load_before=4.5))
    (doubt,) = compare(report, busy).doubts_b
    assert doubt.startswith("the machine was busy before the run")
    assert compare(report, busy).doubts_a == ()
    assert compare(busy, report).doubts_a == (doubt,)


def noisy(report, factors):
    """Slow each round of the first measurement down by its own factor."""
    first = report.measurements[0]
    rounds = tuple(
        Round(r.elapsed_s * f, tuple(v * f for v in r.latencies_us))
        for r, f in zip(first.rounds, factors, strict=True)
    )
    return dataclasses.replace(report, measurements=(dataclasses.replace(first, rounds=rounds),), videos=())


def test_a_difference_within_the_noise_of_the_rounds_is_not_claimed(make):
    quiet = make(rounds=5, scenarios=("single-stream",))
    a = noisy(quiet, (0.8, 0.9, 1.0, 1.2, 1.4))
    b = noisy(quiet, (0.85, 0.95, 1.05, 1.25, 1.45))
    ratio = compare(a, b).ratios[0]
    assert ratio.speed < 1
    assert ratio.low < 1 < ratio.high
    assert ratio.verdict == "no difference shown"
    far = compare(a, noisy(quiet, (3.0, 3.1, 3.2, 3.3, 3.4))).ratios[0]
    assert far.verdict == "slower"


def test_three_rounds_that_lie_apart_by_chance_are_no_difference(make):
    """Every round of A is slower than every round of B, which happens once in twenty times."""
    quiet = make(rounds=3, scenarios=("single-stream",))
    ratio = compare(noisy(quiet, (1.03, 1.05, 1.09)), noisy(quiet, (0.98, 1.00, 1.02))).ratios[0]
    assert (ratio.a, ratio.b) == pytest.approx((11 * 1.05638, 11 * 0.99987), rel=1e-4)
    assert ratio.speed == pytest.approx(ratio.a / ratio.b, abs=1e-4)
    assert ratio.low < 1 < ratio.speed < ratio.high
    assert ratio.verdict == "no difference shown"


def test_few_rounds_give_a_ratio_without_an_interval(make):
    ratio = compare(make({FP32: 9.0}, rounds=2), make({FP32: 4.0})).ratios[0]
    assert ratio.speed == pytest.approx(2, rel=1e-3)
    assert (ratio.low, ratio.high, ratio.verdict) == (None, None, "no difference shown")


def test_what_only_one_has_and_what_else_differs_is_told(make):
    a = make({FP32: 9.0, INT8: 3.0}, scenarios=("single-stream",))
    b = dataclasses.replace(
        make({FP32: 9.0}, scenarios=("single-stream", "video")), versions={"python": "3.12.1"}, model="1" * 64
    )
    comparison = compare(a, b)
    assert comparison.only_a == ("cpu int8 2t, single-stream, 1 face",)
    assert comparison.only_b == ("cpu fp32 2t, video, clip.mp4, 640x480, 10 frames",)
    assert comparison.differences == (
        "bundle: tiny 000000000000 -> tiny 111111111111",
        "onnxruntime: 1.32.0 -> none",
        "python: 3.11.7 -> 3.12.1",
    )


@pytest.mark.parametrize(
    "changes", [{"clip": "other.mp4"}, {"width": 1920, "height": 1080}, {"frames": 8}, None], ids=str
)
def test_budgets_of_different_frames_are_not_compared(make, changes):
    a, b = (make({FP32: 9.0}, scenarios=("single-stream",), target_fps=30.0) for _ in range(2))
    assert {r.scenario for r in compare(a, b).ratios} == {"single-stream", "frame"}
    other = tuple(
        dataclasses.replace(m, footage=changes and dataclasses.replace(m.footage, **changes))
        if m.footage
        else m
        for m in b.measurements
    )
    comparison = compare(a, dataclasses.replace(b, measurements=other))
    assert {r.scenario for r in comparison.ratios} == {"single-stream"}
    assert len(comparison.only_a) == len(comparison.only_b) == 2


def test_nothing_in_common_is_an_error(make):
    with pytest.raises(BenchmarkError, match="in common"):
        compare(make({FP32: 9.0}), make({INT8: 9.0}))


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ((True, {}), (False, {}), ["cpu fp32 2t runs: with CUDA graphs -> without CUDA graphs"]),
        ((None, {}), (None, {"cpu": 3}), ["cpu fp32 2t runs: alone -> 3 nodes on cpu"]),
        ((None, {"cpu": 3}), (None, {"cpu": 3}), []),
        ((None, None), (True, {}), []),
    ],
    ids=["graphs", "nodes", "alike", "an older file"],
)
def test_how_a_configuration_runs_is_compared(report, a, b, said):
    def of(graphs, elsewhere):
        first = dataclasses.replace(report.accepted[0], cuda_graphs=graphs, elsewhere=elsewhere)
        return dataclasses.replace(report, accepted=(first, *report.accepted[1:]))

    assert list(compare(of(*a), of(*b)).differences) == said
