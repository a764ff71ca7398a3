import argparse
import json

import pytest

from fauxface import Bundle
from fauxface.errors import FauxfaceError

TEXT = "# P\n\n<!-- table {0} -->\nold\n<!-- end -->\n\nrest\n"


@pytest.fixture
def script(load):
    return load("performance_doc")


def test_the_document_is_up_to_date(script):
    text = script.DOC.read_text(encoding="utf-8")
    assert script.fill(text, script.harness.RESULTS) == text
    for name in script.TABLES:
        assert text.count(f"<!-- table {name} -->") == 1


def test_a_table_that_was_not_measured_says_how(script, tmp_path):
    filled = script.fill(TEXT.format("startup"), tmp_path)
    assert "Not measured yet: `python benchmarks/startup.py`" in filled
    assert "old" not in filled
    assert filled.endswith("<!-- end -->\n\nrest\n")
    assert script.fill(filled, tmp_path) == filled


def results(load, scanner, clip, tmp_path):
    run = {"rounds": 1}
    yield "hot_path", run | {"rows": load("hot_path").measure(scanner, clip, [2], 1)}
    yield "sampled", {"rows": [{"clip": "clip.mp4", "samples": 9, "shares": {"a.py: f": 0.75}}]}
    rows = load("locator_policies").measure(clip, Bundle.load(scanner.bundle.path), [2], 1)
    yield "locator_policies", {"rows": rows}
    rows = load("locator_sides").measure(clip, Bundle.load(scanner.bundle.path), [320], 1)
    yield "locator_sides", {"rows": rows}
    yield "video_pipeline", run | {"rows": [load("video_pipeline").measure(scanner, clip, 1)]}
    folder = load("folder")
    pictures = folder.make_pictures(tmp_path, (320, 240), 2)
    yield "folder", run | {"rows": [folder.measure(scanner, "small", pictures, 1)]}
    startup = load("startup")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(startup, "run", lambda _: (0.123, 321.0))
        yield "startup", startup.measure(1, clip, clip, None, tmp_path)


def test_tables_hold_what_the_scripts_write(script, load, scanner, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(load("start"), "busy_share", lambda: 0.0)
    for name, body in results(load, scanner, clip, tmp_path):
        arguments = argparse.Namespace(benchmark=name, out=tmp_path / f"{name}.json", busy=False)
        load("recording").save(arguments, load("start").Before(0.0, None, None), body)
        filled = script.fill(TEXT.format(name), tmp_path)
        table = [line for line in filled.splitlines() if line.startswith("|")]
        assert len(table) >= 3
        assert len({line.count("|") for line in table}) == 1
        assert "None" not in filled
        assert " threads, not with the shipped model.\n" in filled
    assert "| import fauxface | 0.123 s | 0.3 s |" in table
    assert "| scan of clip.mp4, peak memory | 321 MB | 400 MB |" in table


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no table"),
        ("startup", "isn't a result"),
        ("sampled", r"busy machine; run benchmarks/sampled\.py"),
        ("hot_path", r"can't read .*hot_path\.json"),
        ("locator_sides", "isn't a result"),
        ("locator_policies", r"locator_policies\.json lacks something: KeyError\('rows'\)"),
    ],
)
def test_other_names_and_files_and_trials_are_refused(script, tmp_path, name, message):
    (tmp_path / "startup.json").write_text(json.dumps({"format": "fauxface.paths/1"}))
    (tmp_path / "sampled.json").write_text(json.dumps({"format": "fauxface.sampled/1", "trial": True}))
    (tmp_path / "hot_path.json").write_text("{")
    (tmp_path / "locator_sides.json").write_text("[]")
    (tmp_path / "locator_policies.json").write_text('{"format": "fauxface.locator_policies/1"}')
    with pytest.raises(FauxfaceError, match=message):
        script.fill(TEXT.format(name), tmp_path)


def test_a_clip_without_a_face_has_a_row(script):
    row = {
        "clip": "a.mp4",
        "batch": 1,
        "faces": 0,
        "frames": 9,
        "ms_per_frame": {"locate": 2.0},
        "crop_share": 0.0,
    }
    _, (cells,) = script.hot_path({"rows": [row]})
    assert cells == ["a.mp4", 1, "0.0", "2.00", "0.0%", ""]


def test_a_limit_that_isnt_held_is_said(script):
    rates = {"decode": 9.0, "locate": 9.0, "pipeline": 5.0}
    row = {
        "clip": "a.mp4",
        "frames": 2,
        "faces": 0,
        "frames_per_s": rates,
        "of_slowest_stage": 0.56,
        "of_bound": 0.6,
    }
    shown = [script.video_pipeline({"rows": [{**row, "held": held}]})[1][0][-3] for held in (True, False)]
    assert shown == ["56%", "56%, **limit not held**"]


def test_check_tells_of_a_stale_document_and_writes_nothing(script, tmp_path, monkeypatch):
    page = tmp_path / "performance.md"
    page.write_text(TEXT.format("startup"))
    monkeypatch.setattr(script, "DOC", page)
    monkeypatch.setattr(script.harness, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["performance_doc.py", "--check"])
    with pytest.raises(FauxfaceError, match="out of date"):
        script.main()
    assert page.read_text() == TEXT.format("startup")
    monkeypatch.setattr("sys.argv", ["performance_doc.py"])
    script.main()
    monkeypatch.setattr("sys.argv", ["performance_doc.py", "--check"])
    script.main()
