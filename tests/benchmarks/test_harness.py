import json

import numpy as np
import pytest

pytest.importorskip("torch")

import harness
import start
from fauxface.bundle import Bundle
from fauxface.errors import GateError, OutputError
from harness import Ratio, Row, Turn
from start import BusyError


class Scripted:
    """A worker that takes as long as it was told, and remembers the order of all requests."""

    def __init__(self, name, seconds, log, units=1):
        self.name, self._seconds, self._log, self._units = name, iter(seconds), log, units

    def ask(self, do, **fields):
        assert do == "time"
        self._log.append((self.name, fields["case"]))
        value = next(self._seconds)
        return {"seconds": [value, value, 4 * value], "units": [self._units] * 3}


def test_rounds_are_interleaved_and_each_starts_with_another_turn():
    log = []
    workers = [Scripted(name, [1.0] * 100, log) for name in "abc"]
    rows = harness.measure([Turn(worker, "x", warm_up=1) for worker in workers], rounds=4, busy=True)
    names = [name for name, _ in log]
    assert names[:3] == ["a", "b", "c"]
    assert ["".join(names[i : i + 3]) for i in range(3, 15, 3)] == ["abc", "bca", "cab", "abc"]
    assert [(row.configuration, len(row.rounds), len(row.runs)) for row in rows] == [
        (name, 4, 12) for name in "abc"
    ]


@pytest.mark.parametrize(("statistic", "expected"), [("median", 0.5), ("mean", 1.0)])
def test_a_turn_counts_by_its_statistic(statistic, expected):
    turn = Turn(Scripted("a", [1.0] * 9, [], units=2), "x", warm_up=1, statistic=statistic)
    assert harness.measure([turn], rounds=2, busy=True)[0].rounds == [expected, expected]


@pytest.mark.parametrize(
    ("seconds", "turns", "settled"),
    [
        ([9, 5, 1.0, 1.02, 1.04, 7], 5, True),
        ([1, 2, 1, 2, 1, 2, 1, 2, 1], 8, False),
    ],
)
def test_warm_up_ends_when_three_turns_agree(seconds, turns, settled):
    log = []
    rows = harness.measure([Turn(Scripted("a", [*seconds, 1.0], log), "x")], rounds=1, busy=True)
    assert (len(log) - 1, rows[0].settled) == (turns, settled)


def test_without_a_warm_up_nothing_is_said_of_it():
    turn = Turn(Scripted("a", [1.0], []), "x", warm_up=0)
    assert harness.measure([turn], rounds=1, busy=True)[0].settled is None


@pytest.mark.parametrize(
    ("shares", "taken", "kept"),
    [
        ([0.0, 0.05], 2, [1.0, 2.0]),
        ([0.5, 0.0, 0.0], 3, [2.0, 3.0]),
        ([None, None], 2, [1.0, 2.0]),
    ],
)
def test_a_round_that_ends_on_a_busy_machine_is_measured_again(monkeypatch, shares, taken, kept):
    log, looks = [], iter(shares)
    monkeypatch.setattr(start, "busy_share", lambda _: next(looks))
    turn = Turn(Scripted("a", [1.0, 2.0, 3.0], log), "x", warm_up=0)
    (row,) = harness.measure([turn], rounds=2)
    assert (len(log), row.rounds, len(row.runs)) == (taken, kept, 6)


def test_a_machine_that_stays_busy_ends_the_run(monkeypatch):
    log = []
    monkeypatch.setattr(start, "busy_share", lambda _: 0.5)
    turn = Turn(Scripted("a", [1.0] * 9, log), "x", warm_up=0)
    with pytest.raises(BusyError, match="4 rounds ended"):
        harness.measure([turn], rounds=3)
    assert len(log) == 4


def test_a_ratio_of_steady_rounds_is_exact():
    assert harness.ratio([6.0] * 5, [2.0] * 5) == Ratio(3.0, 3.0, 3.0)


def test_drift_that_hits_both_sides_leaves_the_ratio_alone():
    drift = np.linspace(1, 2, 9)
    found = harness.ratio(list(3 * drift), list(drift))
    assert (found.low, found.value, found.high) == pytest.approx((3, 3, 3))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(60):
        slow, fast = rng.lognormal(np.log(3), 0.1, 25), rng.lognormal(0, 0.1, 25)
        found = harness.ratio(slow.tolist(), fast.tolist(), seed)
        assert found.low <= found.value <= found.high
        hits += found.low <= 3 <= found.high
    assert hits >= 51


@pytest.mark.parametrize(("slow", "fast"), [([], []), ([1.0, 2.0], [1.0])])
def test_a_ratio_needs_the_same_rounds(slow, fast):
    with pytest.raises(ValueError, match="the same rounds"):
        harness.ratio(slow, fast)


def row(name, case, seconds):
    return Row(name, case, rounds=[seconds] * 3, runs=[seconds] * 3, units=[1.0] * 3)


def test_ratios_are_taken_within_a_case():
    rows = [row("slow", "a", 4.0), row("fast", "a", 1.0), row("fast", "b", 1.0)]
    assert harness.ratios_to(rows, "slow") == [
        {"of": "fast", "against": "slow", "case": "a", "value": 4.0, "low": 4.0, "high": 4.0}
    ]


@pytest.mark.parametrize(("aim", "holds"), [(4.0, True), (4.1, False)])
def test_a_claim_holds_from_its_aim_on(aim, holds):
    rows = [row("slow", "a", 4.0), row("fast", "a", 1.0)]
    found = harness.speed_claim(rows, "text", ("fast", "a"), ("slow", "a"), aim)
    assert [(c["claim"], c["value"], c["holds"]) for c in found] == [("text", 4.0, holds)]
    assert harness.speed_claim(rows, "text", ("int8", "a"), ("slow", "a"), aim) == []


def test_the_machine_is_described():
    found = harness.machine()
    assert found["cores"] >= 1
    assert set(found["instruction_sets"]) <= set(harness._INSTRUCTION_SETS)
    json.dumps(found)


@pytest.mark.parametrize(
    ("share", "allowed", "refused"), [(0.5, False, True), (0.5, True, False), (0.05, False, False)]
)
def test_a_busy_machine_is_refused(monkeypatch, share, allowed, refused):
    monkeypatch.setattr(start, "busy_share", lambda: share)
    if refused:
        with pytest.raises(BusyError, match="50% of the processors"):
            start.require_idle(allowed)
    else:
        assert start.require_idle(allowed) == share


def test_a_result_is_written_and_read_back(tmp_path, monkeypatch, capsys):
    import tables

    monkeypatch.setattr(start.provenance, "commit", lambda: "c0ffee")
    arguments = harness.parser("What it does.\nMore.", "classifier", 5, 0.1).parse_args(["--skip", "b"])
    rows = [row("a", "x", 0.25)]
    monkeypatch.setattr(start, "busy_share", lambda: 0.01)
    began = start.before(arguments)
    monkeypatch.setattr(start.provenance, "commit", lambda: "another one, made while it ran")
    content = harness.document(arguments, rows, versions={"a": {}}, began=began, unit="face", claims=[])
    harness.write(content, tmp_path / "classifier.json")
    found = tables.load(tmp_path / "classifier.json")
    assert found["model"] == Bundle.load().sha256
    assert found["rows"][0] | {"rounds": None} == {
        "configuration": "a",
        "case": "x",
        "seconds_per_unit": 0.25,
        "run_p50_ms": 250.0,
        "run_p90_ms": 250.0,
        "runs": 3,
        "units": 3.0,
        "settled": None,
        "rounds": None,
    }
    assert (found["trial"], found["settings"]["skipped"], found["commit"]) == (False, ["b"], "c0ffee")
    assert capsys.readouterr().out == f"{tmp_path / 'classifier.json'}\n"


@pytest.mark.parametrize(
    ("out", "message"),
    [("result.png", "must end in .json"), ("file/result.json", "is a file")],
)
def test_where_a_result_cant_go_is_said_before_it_is_measured(tmp_path, monkeypatch, out, message):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(start, "busy_share", lambda: pytest.fail("looked at the machine first"))
    arguments = harness.parser("What.", "classifier", 3, 0.1).parse_args(["--out", str(tmp_path / out)])
    with pytest.raises(OutputError, match=message):
        start.before(arguments)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1"])
def test_seconds_that_are_none_are_refused(seconds, capsys):
    with pytest.raises(SystemExit):
        harness.parser("What.", "classifier", 3, 0.1).parse_args(["--seconds", seconds])
    assert "must be a number of seconds from 0 on" in capsys.readouterr().err


def test_a_typed_error_is_one_line_and_exit_code_1(capsys):
    def fails():
        raise GateError("it answers otherwise")

    with pytest.raises(SystemExit) as left:
        harness.run(fails)
    assert left.value.code == 1
    assert capsys.readouterr().err == "error: it answers otherwise\n"
