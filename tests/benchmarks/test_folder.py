import json

import pytest

from fauxface.errors import GateError
from fauxface.images import read


def test_pictures_are_the_same_each_time(load, tmp_path):
    folder = load("folder")
    made = [folder.make_pictures(tmp_path / name, (160, 120), 3) for name in "ab"]
    assert [path.read_bytes() for path in made[0]] == [path.read_bytes() for path in made[1]]
    assert read(made[0][0]).shape == (120, 160, 3)
    assert len({path.read_bytes() for path in made[0]}) == 3


def test_both_ways_are_measured_in_turn(load, scanner, tmp_path):
    folder = load("folder")
    row = folder.measure(scanner, "small", folder.make_pictures(tmp_path, (320, 240), 2), 3)
    assert (row["count"], {len(values) for values in row["seconds"].values()}) == (2, {3})
    assert row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]
    assert all(rate > 0 for rate in row["pictures_per_s"].values())


@pytest.mark.parametrize("broken", ["other results", "no face"])
def test_rates_of_something_else_are_refused(load, scanner, tmp_path, monkeypatch, broken):
    folder = load("folder")
    paths = folder.make_pictures(tmp_path, (320, 240), 2)
    if broken == "no face":
        monkeypatch.setattr(folder, "WAYS", {"a": lambda *_: [], "b": lambda *_: []})
    else:
        monkeypatch.setitem(
            folder.WAYS, "images", lambda scanner, paths: folder.in_a_loop(scanner, paths[:1])
        )
    with pytest.raises(GateError, match="small: the two ways find something else"):
        folder.measure(scanner, "small", paths, 1)


def test_the_script_writes_what_it_measured(load, monkeypatch, tmp_path, capsys):
    folder = load("folder")
    monkeypatch.setattr(load("start"), "busy_share", lambda _=0: 0.0)
    monkeypatch.setattr(folder, "SIZES", {"small": (320, 240)})
    monkeypatch.setattr(folder, "COUNT", 2)
    out = tmp_path / "folder.json"
    monkeypatch.setattr("sys.argv", ["folder", "--rounds", "1", "--threads", "2", "--out", str(out)])
    folder.main()
    data = json.loads(out.read_text())
    assert (data["format"], data["trial"], data["scan_threads"]) == ("fauxface.folder/1", False, 2)
    assert "small: pictures/s: image in a loop" in capsys.readouterr().out
