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
    startup = load("startup")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(startup, "run", lambda _: (0.123, 321.0))
        yield "startup", startup.measure(1, clip, clip, None, tmp_path)


def test_tables_hold_what_the_scripts_write(script, load, scanner, clip, tmp_path):
    for name, body in results(load, scanner, clip, tmp_path):
        arguments = argparse.Namespace(benchmark=name, out=tmp_path / f"{name}.json", busy=False)
        load("recording").save(arguments, scanner.bundle, 0.0, body)
        filled = script.fill(TEXT.format(name), tmp_path)
        table = [line for line in filled.splitlines() if line.startswith("|")]
        assert len(table) >= 3
        assert len({line.count("|") for line in table}) == 1
        assert "None" not in filled
    assert "| import fauxface | 0.123 s | 0.3 s |" in table
    assert "| scan of clip.mp4, peak memory | 321 MB | 400 MB |" in table


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no table"),
        ("startup", "isn't a result"),
        ("sampled", r"busy machine; run benchmarks/sampled\.py"),
    ],
)
def test_other_names_and_files_and_trials_are_refused(script, tmp_path, name, message):
    (tmp_path / "startup.json").write_text(json.dumps({"format": "fauxface.paths/1"}))
    (tmp_path / "sampled.json").write_text(json.dumps({"format": "fauxface.sampled/1", "trial": True}))
    with pytest.raises(FauxfaceError, match=message):
        script.fill(TEXT.format(name), tmp_path)


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
