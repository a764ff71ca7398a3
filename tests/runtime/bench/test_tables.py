import dataclasses

import pytest

from fauxface.bench import tables
from fauxface.bench.budget import Budget
from fauxface.bench.compare import compare
from fauxface.bench.configurations import Accepted, Accuracy, Configuration, Refusal
from fauxface.bench.results import WarmUp
from fauxface.bench.tables import Section, comparison_sections, report_sections, to_markdown, to_text

FP32 = Configuration("cpu", "fp32", 2)


def row(text, start):
    """The cells of the first line that starts so; cells are at least two blanks apart."""
    line = next(line for line in text.splitlines() if line.strip().startswith(start))
    return [cell.strip() for cell in line.strip().split("  ") if cell.strip()]


def test_text_has_a_table_for_each_scenario(make):
    text = to_text(report_sections(make(tails=True, target_fps=30.0, faces=3)))
    for part in (
        "processor: Test CPU",
        "instructions: avx2 avx512_vnni",
        "governor: performance",
        "temperature: package 41 -> 63.5 C",
        "load average: 0.10 before, 1.90 after",
        "onnxruntime 1.32.0",
        "cpu (asked: auto)",
        "ok: 8 crops, logits within 1.0e-06, 0 labels changed",
        "clip.mp4, 640x480, 10 frames, 2.00 faces per frame",
        "1 of 2 configurations judge 99 of 100 frames within 33.3 ms",
        "budget: 30 frames/s with 3 faces, clip.mp4, 640x480, 10 frames",
    ):
        assert part in text
    single = text.split("single-stream:")[1].split("\n\n")[0]
    assert row(single, "cpu fp32 2t")[2:] != []
    assert row(single, "cpu fp32 2t")[3:5] == ["11.00", "11.00"]
    offline = text.split("offline:")[1].split("\n\n")[0]
    assert row(offline, "configuration") == ["configuration", "batch 1", "batch 8"]
    assert row(offline, "cpu int8 2t") == ["cpu int8 2t", "250.0", "320.0"]
    video = text.split("video:")[1].split("\n\n")[0]
    assert row(video, "cpu int8 2t")[1:7] == ["117.6", "1.00", "4.00", "0.50", "3.00", "locate"]
    budget = text.split("budget:")[1]
    assert row(budget, "cpu int8 2t")[1:3] == ["holds", "+61%"]
    assert row(budget, "cpu fp32 2t")[1:3] == ["FAILS", "-2%"]


@pytest.mark.parametrize(
    ("measured", "line"),
    [
        ([(True, 40), (True, 40)], "2 of 2 configurations judge each of the 40 frames measured within"),
        ([(True, 40), (True, 60)], "2 of 2 configurations judge each of 40 to 60 frames measured within"),
        ([(True, 200), (True, 100)], "2 of 2 configurations judge 99 of 100 frames within"),
        ([(True, 200), (False, 40)], "1 of 2 configurations judge 99 of 100 frames within"),
        ([(True, 200), (True, 40)], "judge 99 of 100 frames (all, where fewer were measured) within"),
        ([(False, 40), (False, 40)], "0 of 2 configurations judge each of the 40 frames measured within"),
    ],
)
def test_the_budget_speaks_of_the_frames_of_what_holds(make, monkeypatch, measured, line):
    answers = [
        Budget(Configuration("cpu", "fp32", 1), 1.0, 1.0, 9.0, 9.0 if holds else 90.0, 33.3, frames, 1)
        for holds, frames in measured
    ]
    monkeypatch.setattr(tables, "budgets", lambda _: answers)
    assert line in to_text(report_sections(make(target_fps=30.0)))


def test_what_was_not_run_has_no_section(make):
    text = to_text(report_sections(make(scenarios=("offline",))))
    assert "offline" in text
    assert not any(word in text for word in ("single-stream", "multi-stream", "video", "budget"))


def test_what_a_configuration_leaves_to_others_is_shown(report):
    first = dataclasses.replace(report.accepted[0], cuda_graphs=False, elsewhere={"cpu": 3})
    text = to_text(report_sections(dataclasses.replace(report, accepted=(first, *report.accepted[1:]))))
    assert "cpu (asked: auto), 3 nodes on cpu, without CUDA graphs" in text


def test_a_refused_configuration_is_shown_with_its_reason_and_in_no_table(report):
    refused = dataclasses.replace(report, refused=(Refusal("cuda", "fp16", 1, "accuracy", "too far off"),))
    text = to_text(report_sections(refused))
    assert "REFUSED cuda fp16 1t: too far off" in text
    assert text.count("cuda") == 1


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            lambda r: dataclasses.replace(r, machine=dataclasses.replace(r.machine, load_before=4.5)),
            "the machine was busy before the run: load average 4.50",
        ),
        (
            lambda r: dataclasses.replace(r, machine=dataclasses.replace(r.machine, busy_before=0.25)),
            "the machine was busy before the run: 25% of the processors",
        ),
        (
            lambda r: dataclasses.replace(
                r,
                accepted=(Accepted(Configuration("cpu", "fp32", 4), "cpu", Accuracy(1, 0.0, 1.0, 0, 0, 0)),),
            ),
            "cpu fp32 4t: more threads than the 2 available cores",
        ),
        (
            lambda r: with_first(
                r, warm_up=dataclasses.replace(r.measurements[0].warm_up, stable=False, spread=0.2)
            ),
            "cpu fp32 2t, single-stream, 1 face: still 20% between windows after",
        ),
        (
            lambda r: with_first(
                r,
                rounds=tuple(
                    dataclasses.replace(one, latencies_us=(1000.0 * (i + 1),) * 5)
                    for i, one in enumerate(r.measurements[0].rounds)
                ),
            ),
            "the rounds' medians differ by 100%",
        ),
        (
            lambda r: dataclasses.replace(
                r,
                videos=(dataclasses.replace(r.videos[0], warm_up=WarmUp(9, 10.2, 0.3, False)), *r.videos[1:]),
            ),
            "cpu fp32 2t, video: still 30% between windows after 10.2 s of warm-up",
        ),
    ],
    ids=["loaded", "busy", "too many threads", "not warm", "drift", "video not warm"],
)
def test_what_makes_a_figure_doubtful_is_noted(make, change, note):
    report = make(tails=True)
    assert note not in to_text(report_sections(report))
    assert note in to_text(report_sections(change(report)))


def with_first(report, **changes):
    first, *others = report.measurements
    return dataclasses.replace(report, measurements=(dataclasses.replace(first, **changes), *others))


@pytest.mark.parametrize("scenario", ["single-stream", "multi-stream"])
def test_a_percentile_without_enough_queries_is_a_dash(make, scenario):
    text = to_text(report_sections(make(scenarios=(scenario,))))
    assert row(text.split(f"{scenario}:")[1], "cpu fp32 2t")[5:7] == ["-", "-"]
    assert "p99.9 takes 1000" in text


def test_markdown_has_the_same_cells(make):
    page = to_markdown("fauxface bench", report_sections(make()))
    assert page.startswith("# fauxface bench\n\n## Machine\n\n- processor: Test CPU\n")
    assert "| configuration | batch 1 | batch 8 |\n|---|---|---|\n| cpu fp32 2t | 90.9 |" in page


def test_markdown_cells_can_not_break_the_table(report):
    odd = dataclasses.replace(report, bundle="a|b<i>")
    assert "a\\|b\\<i>" in to_markdown("x", report_sections(odd))
    odd = dataclasses.replace(report, bundle="![](https://x/y.png)\n# b")
    assert "- bundle: !\\[](https://x/y.png)\\\\n# b" in to_markdown("x", report_sections(odd))
    assert "\n# b" not in to_text(report_sections(odd))
    heading = to_markdown("x", [Section("<img src=x>", (), (), ())])
    assert "## \\<img src=x>\n" in heading


def test_comparison_tells_who_is_faster(make):
    text = to_text(comparison_sections(compare(make({FP32: 9.0}), make({FP32: 4.0}))))
    assert row(text, "cpu fp32 2t") == [
        *("cpu fp32 2t", "single-stream", "1 face", "p50_ms", "10", "5"),
        *("2.000x", "2.000 to 2.000", "B is faster"),
    ]
    assert "A: " not in text
    busy = dataclasses.replace(make(), machine=dataclasses.replace(make().machine, load_before=4.5))
    assert "  A: the machine was busy" in to_text(comparison_sections(compare(busy, make())))
    assert "  B: the machine was busy" in to_text(comparison_sections(compare(make(), busy)))
    text = to_text(comparison_sections(compare(make(rounds=1), make())))
    assert "too few rounds" in text
