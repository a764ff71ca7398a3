import json
from pathlib import Path

import jsonschema
import pytest

from fauxface.bench import results
from fauxface.bench.compare import compare
from fauxface.bench.configurations import Refusal
from fauxface.bench.results import BenchReport
from fauxface.errors import BenchmarkError

SCHEMA_FILE = Path(__file__).parents[3] / "docs/bench.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))


def test_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("changes", [{}, {"rounds": 1}, {"target_fps": 30.0, "faces": 3, "tails": True}])
def test_json_form_fits_the_schema_and_is_read_back(make, changes):
    report = make(**changes)
    refused = Refusal("cuda", None, None, "unavailable", "there is no NVIDIA driver")
    report = BenchReport.from_dict({**report.to_dict(), "refused": [vars_of(refused)]})
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    VALIDATOR.validate(document)
    again = BenchReport.from_dict(document)
    assert again == report
    assert again.to_dict() == document


def test_a_file_from_before_the_clip_was_recorded_is_read(make):
    document = make(scenarios=(), target_fps=30.0).to_dict()
    for entry in document["measurements"]:
        del entry["footage"]
    VALIDATOR.validate(document)
    read = BenchReport.from_dict(document)
    assert {m.footage for m in read.measurements} == {None}
    assert "a clip that was not recorded" in read.measurements[0].key[2]


def vars_of(refusal):
    return {name: getattr(refusal, name) for name in ("provider", "precision", "threads", "kind", "reason")}


def test_a_comparison_fits_the_schema(make):
    VALIDATOR.validate(json.loads(json.dumps(compare(make(), make()).to_dict(), allow_nan=False)))
    VALIDATOR.validate(json.loads(json.dumps(compare(make(rounds=1), make()).to_dict(), allow_nan=False)))


def test_schema_refuses_what_is_not_a_result(report):
    document = report.to_dict()
    for change in ({"schema": "fauxface.bench/2"}, {"extra": 1}, {"model": "x"}):
        assert not VALIDATOR.is_valid({**document, **change})


def test_few_rounds_have_no_interval_and_few_queries_no_tail(make):
    figures = make(rounds=1).measurements[0].summary()
    assert figures["p50_interval_ms"] is None
    assert (figures["p99_ms"], figures["p99_9_ms"]) == (None, None)
    assert figures["p50_ms"] == pytest.approx(11)


def test_figures_are_computed_once(report, monkeypatch):
    """Every table and plot asks for them, after the run is over."""
    measured = (report.measurements[0], report.videos[0])
    first = [one.summary() for one in measured]
    monkeypatch.setattr(results, "percentile", None)
    assert [one.summary() for one in measured] == first
    first[0]["p50_ms"] = 0
    assert measured[0].summary()["p50_ms"] == 11


def test_video_figures(report):
    figures = report.videos[0].summary()
    assert figures["frames_per_s"] == pytest.approx(10 / 0.155)
    assert figures["faces_per_frame"] == 2
    assert figures["slowest_stage"] == "classify"
    assert report.videos[1].summary()["slowest_stage"] == "locate"
    assert figures["age_p50_ms"] == pytest.approx(15.5)
    assert figures["age_p99_ms"] is None
    assert figures["dropped"] == 0.2


def remove(document, *path):
    for step in path[:-1]:
        document = document[step]
    del document[path[-1]]


def put(document, value, *path):
    for step in path[:-1]:
        document = document[step]
    document[path[-1]] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: remove(d, "machine", "cpu"), "machine.cpu is missing"),
        (lambda d: put(d, 1, "extra"), "extra isn't known"),
        (lambda d: put(d, "2", "settings", "rounds"), "settings.rounds must be of type int, not str"),
        (lambda d: put(d, True, "settings", "rounds"), "must be of type int, not bool"),
        (lambda d: put(d, [], "machine"), "machine must be an object"),
        (lambda d: put(d, 10**400, "machine", "cores"), "cores must be at most"),
        (lambda d: put(d, 0, "settings", "faces"), "faces must be at least 1"),
        (lambda d: put(d, 0.0, "settings", "target_fps"), "target_fps must be above 0"),
        (lambda d: put(d, {}, "measurements"), "measurements must be of type tuple, not dict"),
        (lambda d: put(d, [], "measurements", 0, "rounds"), "rounds must not be empty"),
        (
            lambda d: put(d, [0], "measurements", 0, "rounds", 0, "latencies_us"),
            "latencies_us must be 1e-09 to",
        ),
        (lambda d: put(d, [5e-324], "measurements", 0, "rounds", 0, "latencies_us"), "must be 1e-09 to"),
        (lambda d: put(d, [1e300], "measurements", 0, "rounds", 0, "latencies_us"), "must be 1e-09 to"),
        (lambda d: put(d, [], "measurements", 0, "rounds", 0, "latencies_us"), "must not be empty"),
        (lambda d: put(d, -1.0, "measurements", 0, "rounds", 0, "elapsed_s"), "elapsed_s must be 1e-09 to"),
        (lambda d: put(d, 10**400, "measurements", 0, "rounds", 0, "elapsed_s"), "isn't a finite number"),
        (lambda d: put(d, "server", "measurements", 0, "scenario"), "unknown scenario"),
        (lambda d: put(d, 0, "measurements", 0, "faces"), "faces must be at least 1"),
        (lambda d: put(d, [7], "measurements"), r"measurements\[0\] must be an object"),
        (lambda d: put(d, {}, "videos", 0, "rounds", 0, "stages_ms"), "stages_ms must have decode"),
        (lambda d: put(d, -1, "videos", 0, "rounds", 0, "dropped"), "dropped must be at least 0"),
        (lambda d: put(d, 0, "videos", 0, "width"), "width must be at least 1"),
        (lambda d: put(d, 0, "videos", 0, "height"), "height must be at least 1"),
        (lambda d: put(d, 0.0, "videos", 0, "camera_fps"), "camera_fps must be above 0"),
        (lambda d: put(d, 10**400, "measurements", 0, "faces"), "faces must be at most"),
        (lambda d: put(d, 10**400, "videos", 0, "frames"), "frames must be at most"),
        (lambda d: put(d, 10**400, "videos", 0, "rounds", 0, "faces"), "faces must be at most"),
        (lambda d: put(d, 10**400, "videos", 0, "rounds", 0, "ages_ms"), "ages_ms"),
        (lambda d: put(d, [1e300], "videos", 0, "rounds", 0, "ages_ms"), "times must be 0 to"),
        (
            lambda d: put(
                d, {"clip": "a", "width": 0, "height": 1, "frames": 1}, "measurements", 0, "footage"
            ),
            "width must be at least 1",
        ),
        (lambda d: put(d, "fauxface.result/1", "schema"), "schema isn't fauxface.bench/1"),
    ],
)
def test_a_corrupt_result_names_its_field(report, tmp_path, change, message):
    document = json.loads(json.dumps(report.to_dict()))
    change(document)
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(BenchmarkError, match=message) as caught:
        BenchReport.read(tmp_path / "a.json")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "a.json") in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema": "fauxface.bench/1"}']
)
def test_a_file_of_something_else_is_refused(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(BenchmarkError, match=r"isn't a result of fauxface bench"):
        BenchReport.read(tmp_path / "a.json")


def test_nan_is_refused(report, tmp_path):
    text = json.dumps(report.to_dict()).replace('"load_before": 0.1', '"load_before": NaN')
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BenchmarkError, match=r"machine.load_before isn't a finite number"):
        BenchReport.read(tmp_path / "a.json")


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(BenchmarkError, match="No such file"):
        BenchReport.read(tmp_path / "none.json")
