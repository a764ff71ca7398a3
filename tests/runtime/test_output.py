import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fauxface.errors import OutputError
from fauxface.output import Recorded, ResultLog, annotated_paths
from fauxface.results import ItemError
from made_results import MODEL, OTHER, face, frame, picture


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def keys(path):
    return [(line["source"], line["frame"]) for line in lines(path)]


def write(path, *results, partial=b""):
    path.write_bytes("".join(r.to_json_line() + "\n" for r in results).encode() + partial)


def test_finished_scan_gets_its_name(tmp_path):
    log = ResultLog(tmp_path / "new" / "r.jsonl", MODEL)
    with log.writing(set()) as add:
        add(picture("a.jpg", face()))
        assert not log.path.exists()
        assert keys(log.part) == [("a.jpg", None)]
    assert keys(log.path) == [("a.jpg", None)]
    assert [p.name for p in log.path.parent.iterdir()] == ["r.jsonl"]


def test_interrupted_scan_is_continued(tmp_path):
    path = tmp_path / "r.jsonl"

    def interrupted():
        with ResultLog(path, MODEL).writing(set()) as add:
            add(picture("a.jpg"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not path.exists()
    log = ResultLog(path, MODEL)
    assert set(log.recorded) == {"a.jpg"}
    with log.writing(log.recorded) as add:
        add(picture("b.jpg"))
    assert keys(path) == [("a.jpg", None), ("b.jpg", None)]
    assert not log.part.exists()


@pytest.mark.parametrize(
    ("results", "recorded"),
    [
        ([picture("a.jpg"), frame("v.mp4", 0), frame("v.mp4", 1)], {"a.jpg"}),
        ([frame("v.mp4", 0), picture("w.jpg")], {"v.mp4", "w.jpg"}),
        ([frame("v.mp4", 0), picture("v.mp4", error=ItemError("VideoError", "ends"))], {"v.mp4"}),
        ([frame("v.mp4", 0), frame("w.mp4", 0)], {"v.mp4"}),
    ],
)
def test_interrupted_video_is_scanned_again(tmp_path, results, recorded):
    path = tmp_path / "r.jsonl"
    write(path.with_name("r.jsonl.part"), *results, partial=b'{"schema": "fauxf')
    log = ResultLog(path, MODEL)
    assert set(log.recorded) == recorded
    assert log.interrupted == next((r.source for r in results[-1:] if r.frame is not None), None)
    with log.writing(log.recorded):
        pass
    assert {source for source, _ in keys(path)} == recorded


def interrupted_before_its_first_result(log):
    with pytest.raises(KeyboardInterrupt), log.writing(log.recorded):
        raise KeyboardInterrupt


def test_a_complete_video_outlives_any_number_of_interruptions(tmp_path):
    path, part = tmp_path / "r.jsonl", tmp_path / "r.jsonl.part"
    write(part, frame("v.mp4", 0), frame("v.mp4", 1), frame("w.mp4", 0))
    for _ in range(3):
        log = ResultLog(path, MODEL)
        assert (set(log.recorded), log.interrupted, log.begun) == ({"v.mp4"}, "w.mp4", True)
        interrupted_before_its_first_result(log)
    log = ResultLog(path, MODEL)
    with log.writing(log.recorded) as add:  # of other sources
        add(picture("a.jpg"))
    assert keys(path) == [("v.mp4", 0), ("v.mp4", 1), ("a.jpg", None)]


def test_overwriting_keeps_an_interrupted_scan_until_the_first_result(tmp_path):
    part = tmp_path / "r.jsonl.part"
    write(part, frame("v.mp4", 0))
    log = ResultLog(tmp_path / "r.jsonl", MODEL, overwrite=True)
    interrupted_before_its_first_result(log)
    assert (keys(part), log.begun) == ([("v.mp4", 0)], False)


def test_two_scans_never_write_one_file(tmp_path):
    path = tmp_path / "r.jsonl"
    first, second = ResultLog(path, MODEL), ResultLog(path, MODEL)
    with first.writing(set()) as add:
        add(picture("a.jpg"))
        with pytest.raises(OutputError, match=r"another scan is writing .*r\.jsonl"), second.writing(set()):
            pytest.fail("both write")
        add(picture("b.jpg"))
    assert keys(path) == [("a.jpg", None), ("b.jpg", None)]
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]
    third = ResultLog(path, MODEL)
    with third.writing(third.recorded) as add:
        add(picture("c.jpg"))
    assert keys(path)[-1] == ("c.jpg", None)


def test_what_another_scan_wrote_meanwhile_is_not_lost(tmp_path):
    path = tmp_path / "r.jsonl"
    first, second = ResultLog(path, MODEL), ResultLog(path, MODEL)
    with first.writing(set()) as add:
        add(picture("a.jpg"))
    with (
        pytest.raises(OutputError, match=r"another scan wrote .*r\.jsonl meanwhile; run"),
        second.writing(set()),
    ):
        pytest.fail("it writes")
    third, last = ResultLog(path, MODEL), ResultLog(path, MODEL, overwrite=True)
    with third.writing(third.recorded) as add:
        add(picture("b.jpg"))
    assert keys(path) == [("a.jpg", None), ("b.jpg", None)]
    with last.writing(set()) as add:
        add(picture("c.jpg"))
    assert keys(path) == [("c.jpg", None)]


def test_a_lock_that_a_killed_scan_left_is_no_hindrance(tmp_path):
    (tmp_path / ".r.jsonl.lock").touch()
    with ResultLog(tmp_path / "r.jsonl", MODEL).writing(set()) as add:
        add(picture("a.jpg"))
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]


def test_last_video_of_a_finished_file_is_complete(tmp_path):
    write(tmp_path / "r.jsonl", frame("v.mp4", 0), frame("v.mp4", 3))
    (record,) = ResultLog(tmp_path / "r.jsonl", MODEL).recorded.values()
    assert (record.frames, record.every, record.whole, record.error) == (2, 3, False, None)


@pytest.mark.parametrize(("indices", "every"), [((0,), None), ((0, 1, 2), 1), ((0, 4, 6), 2), ((0, 9), 9)])
def test_step_is_known_where_frames_are_missing(tmp_path, indices, every):
    write(tmp_path / "r.jsonl", *(frame("v.mp4", index) for index in indices))
    assert ResultLog(tmp_path / "r.jsonl", MODEL).recorded["v.mp4"].every == every


LOST = "a.mp4: 1 of its 3 frames can't be decoded; copy it again"


@pytest.mark.parametrize(
    ("step", "broken", "every", "fits"),
    [
        (None, "", 3, True),
        (3, "", 3, True),
        (60, "", 30, False),
        (60, LOST, 30, True),  # a lost frame leaves a larger step, and an error at the end
        (60, "a.mp4: the video ends early, after 2 frames; copy it again", 30, False),
        (30, LOST, 60, False),
    ],
)
def test_lost_frames_do_not_make_it_another_scan(step, broken, every, fits):
    error = ItemError("VideoError", broken) if broken else None
    record = Recorded(frames=2, every=step, error=error, whole=False)
    assert record.fits(every, whole=False) == fits
    assert not record.fits(every, whole=True)


@pytest.mark.parametrize("whole", [True, False])
def test_mode_is_known_by_a_face(tmp_path, whole):
    write(tmp_path / "r.jsonl", picture("a.jpg", face(whole=whole)))
    assert ResultLog(tmp_path / "r.jsonl", MODEL).recorded["a.jpg"].whole is whole


@pytest.mark.parametrize(
    ("result", "whole"),
    [
        (picture("a", error=ItemError("NoFaceError", "no face")), False),
        (frame("a", 0), False),
        (picture("a", error=ItemError("ImageError", "empty")), None),
    ],
    ids=["picture", "frame", "unreadable"],
)
def test_what_can_be_read_and_has_no_face_was_not_judged_whole(tmp_path, result, whole):
    write(tmp_path / "r.jsonl", result)
    assert ResultLog(tmp_path / "r.jsonl", MODEL).recorded["a"].whole is whole


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(cut=st.integers(0, 2000))
def test_cut_anywhere_continues_with_whole_lines(tmp_path, cut):
    path = tmp_path / "r.jsonl"
    part = tmp_path / "r.jsonl.part"
    path.unlink(missing_ok=True)
    results = [picture(f"{i}.jpg", face()) for i in range(5)]
    write(part, *results)
    part.write_bytes(part.read_bytes()[:cut])
    log = ResultLog(path, MODEL)
    with log.writing(log.recorded) as add:
        for result in results[len(log.recorded) :]:
            add(result)
    assert keys(path) == [(f"{i}.jpg", None) for i in range(5)]


@pytest.mark.parametrize(
    "content",
    [b"not json\n", b"\xff\xfe\n", b'{"schema": "other"}\n', b"[1]\n", b"\n", b"[" * 5000 + b"\n", b"half"],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_refused_and_kept(tmp_path, content, overwrite):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    if overwrite:
        log = ResultLog(path, MODEL, overwrite=True)
        with log.writing(set()) as add:
            add(picture("a.jpg"))
            assert path.read_bytes() == content
        assert keys(path) == [("a.jpg", None)]
        return
    with pytest.raises(OutputError, match="--overwrite"):
        ResultLog(path, MODEL)
    assert path.read_bytes() == content


@pytest.mark.parametrize("suffix", ["", ".part"])
def test_results_of_another_model_are_refused(tmp_path, suffix):
    write(tmp_path / f"r.jsonl{suffix}", picture("a.jpg", model=OTHER))
    with pytest.raises(OutputError, match="another model"):
        ResultLog(tmp_path / "r.jsonl", MODEL)


def test_failure_before_the_first_result_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), ResultLog(tmp_path / "r.jsonl", MODEL).writing(set()):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_the_finished_file(tmp_path):
    path = tmp_path / "r.jsonl"
    write(path, picture("a.jpg"))
    before = path.read_bytes()
    log = ResultLog(path, MODEL)
    with pytest.raises(ZeroDivisionError), log.writing(log.recorded):
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["folder", "file/r.jsonl"])
def test_unwritable_place(tmp_path, where):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), ResultLog(tmp_path / where, MODEL).writing(set()):
        pass


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_devices_and_pipes_are_refused_and_kept(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(OutputError, match="is a device or a pipe"):
        ResultLog(tmp_path / name, MODEL)
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


@pytest.mark.parametrize("exists", [True, False])
def test_link_stays_and_its_target_is_written(tmp_path, exists):
    target, link = tmp_path / "disk/r.jsonl", tmp_path / "r.jsonl"
    target.parent.mkdir()
    if exists:
        write(target, picture("a.jpg"))
    link.symlink_to(target)
    log = ResultLog(link, MODEL)
    with log.writing(log.recorded) as add:
        add(picture("b.jpg"))
    assert link.is_symlink()
    assert keys(target) == [("a.jpg", None)] * exists + [("b.jpg", None)]
    assert [path.name for path in target.parent.iterdir()] == ["r.jsonl"]


@pytest.fixture
def file_size_limit():
    """A function that limits how long files may become, in bytes; writing more fails as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("overwrite", [False, True])
def test_full_disk_keeps_whole_lines_and_says_how_to_go_on(tmp_path, file_size_limit, overwrite):
    log = ResultLog(tmp_path / "r.jsonl", MODEL, overwrite=overwrite)
    file_size_limit(len(picture("a.jpg", face()).to_json_line()) * 3 // 2)
    again = "again without --overwrite" if overwrite else "again"
    message = f"File too large; make room, then run the same command {again} to resume$"

    def scan() -> None:
        with log.writing(set()) as add:
            add(picture("a.jpg", face()))
            add(picture("b.jpg", face()))

    with pytest.raises(OutputError, match=message):
        scan()
    assert set(ResultLog(tmp_path / "r.jsonl", MODEL).recorded) == {"a.jpg"}


def test_annotated_files_keep_the_tree_and_never_collide(tmp_path):
    sources = ["in/a.jpg", "in/x/a.jpg", "in/x/a.webp", "in/x/a.webp.png", "in/v.mov", "in/V.MP4", "in/v.mp4"]
    planned = annotated_paths([(s, not s[3:].startswith(("a", "x"))) for s in sources], Path("in"), tmp_path)
    names = [planned[source].relative_to(tmp_path).as_posix() for source in sources]
    assert names == [
        "a.jpg",
        "x/a.jpg",
        "x/a.webp.png",
        "x/a.webp-2.png",
        "v.mov.mp4",
        "V.MP4",
        "v-2.mp4",
    ]
    assert len({name.casefold() for name in names}) == len(sources)


@pytest.mark.parametrize(
    ("name", "ending"), [("a" * 248 + ".webp", ".png"), ("\u00fc" * 125 + ".jpg", ".jpg")]
)
def test_names_that_get_too_long_are_cut(tmp_path, name, ending):
    planned = annotated_paths([(f"in/{name}", False), (f"in/{name[1:]}", False)], Path("in"), tmp_path)
    assert len(set(planned.values())) == 2
    for target in planned.values():
        assert target.suffix == ending
        target.touch()


def test_path_that_leads_upwards_stays_inside(tmp_path):
    (target,) = annotated_paths([("a/../../b.jpg", False)], Path("a"), tmp_path).values()
    assert target == tmp_path / "b.jpg"


def test_source_is_never_overwritten(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(OutputError, match="overwrite"):
        annotated_paths([(str(tmp_path / "a.jpg"), False)], tmp_path, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
@pytest.mark.parametrize("error", [PermissionError(13, "x"), BlockingIOError(11, "x")])
def test_a_lock_that_a_network_share_refuses_is_held_by_another_scan(tmp_path, monkeypatch, error):
    """Linux tells of a lock on a CIFS share that another one holds as of a lack of rights."""

    def flock(*_):
        raise error

    monkeypatch.setattr("fauxface.output.fcntl.flock", flock)
    with (
        pytest.raises(OutputError, match="another scan is writing"),
        ResultLog(tmp_path / "r.jsonl", MODEL).writing(set()),
    ):
        pytest.fail("both write")


def test_an_empty_part_does_not_hide_a_finished_file(tmp_path):
    write(tmp_path / "r.jsonl", picture("a.jpg"))
    (tmp_path / "r.jsonl.part").touch()
    log = ResultLog(tmp_path / "r.jsonl", MODEL)
    with log.writing(log.recorded) as add:
        add(picture("b.jpg"))
    assert keys(tmp_path / "r.jsonl") == [("a.jpg", None), ("b.jpg", None)]


def test_what_hides_the_finished_file_outlives_a_power_cut(tmp_path, monkeypatch):
    write(tmp_path / "r.jsonl", picture("a.jpg"))
    kept = []
    monkeypatch.setattr(
        "fauxface.output.synced", lambda path: kept.append((path.name, path.is_file() and keys(path)))
    )
    log = ResultLog(tmp_path / "r.jsonl", MODEL)
    with log.writing(log.recorded) as add:
        add(picture("b.jpg"))
        (name, lines), part = kept[0], log.part.name
        assert lines == [("a.jpg", None), ("b.jpg", None)]
        assert name != part


def test_characters_that_the_annotated_files_place_refuses_are_replaced(tmp_path, monkeypatch):
    touch = Path.touch

    def narrow(path, *arguments, **options):
        if set(path.name) & set(":\n"):
            raise OSError(22, "Invalid argument")
        touch(path, *arguments, **options)

    monkeypatch.setattr(Path, "touch", narrow)
    sources = [(f"in/{name}", False) for name in ("10:30.jpg", "10_30.jpg", "a\nb?.jpg", "x:y/c.webp")]
    planned = annotated_paths(sources, Path("in"), tmp_path)
    assert [target.relative_to(tmp_path).as_posix() for target in planned.values()] == [
        "10_30.jpg",
        "10_30-2.jpg",
        "a_b?.jpg",
        "x_y/c.webp.png",
    ]
    assert list(tmp_path.iterdir()) == []
