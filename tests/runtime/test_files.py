import pickle
from pathlib import Path

import pytest

from fauxface import errors
from fauxface.errors import FauxfaceError, OutputError
from fauxface.files import atomic_folder, atomic_write


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_at_the_end(tmp_path):
    target = tmp_path / "new" / "folder" / "out.jsonl"
    with atomic_write(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent
        assert temporary.suffix == ".jsonl"
        assert temporary.name.startswith(".")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_older_file_is_replaced_at_once(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("older")
    with atomic_write(str(target)) as temporary:
        temporary.write_text("newer")
        assert target.read_text() == "older"
    assert target.read_text() == "newer"


@pytest.mark.parametrize("problem", [RuntimeError("stop"), KeyboardInterrupt(), FauxfaceError("stop")])
def test_error_keeps_the_older_file_and_leaves_nothing(tmp_path, problem):
    target = tmp_path / "out.txt"
    target.write_text("older")

    def fail() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise problem

    with pytest.raises(type(problem)):
        fail()
    assert target.read_text() == "older"
    assert names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("name", ["file/out.txt", "folder", "x" * 300 + ".txt"])
def test_unwritable_target_is_an_output_error(tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(OutputError, match="can't write") as caught,
        atomic_write(tmp_path / name) as temporary,
    ):
        temporary.write_text("x")
    assert str(tmp_path / name) in str(caught.value)
    assert str(caught.value).isprintable()
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == []


def test_body_that_writes_nothing_is_an_output_error(tmp_path):
    with pytest.raises(OutputError), atomic_write(tmp_path / "out.txt"):
        pass
    assert names(tmp_path) == []


ERRORS = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FauxfaceError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_messages_are_one_printable_line(kind):
    error = kind("a\nb\x1b[31m\udcff.jpg: é is kept; x")
    assert str(error) == "a\\nb\\x1b[31m\\udcff.jpg: é is kept; x"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert isinstance(error, FauxfaceError)


def test_folder_appears_whole(tmp_path):
    target = tmp_path / "new" / "bundle"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("a")
        assert not target.exists()
    assert names(target) == ["a"]
    assert names(target.parent) == ["bundle"]


def test_nothing_is_left_of_a_folder_that_failed(tmp_path):
    def fail(folder):
        (folder / "a").write_text("a")
        raise KeyError

    with pytest.raises(KeyError), atomic_folder(tmp_path / "bundle") as temporary:
        fail(temporary)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_a_folder_never_replaces_anything(kind, tmp_path):
    target = tmp_path / "taken"
    if kind == "folder":
        target.mkdir()
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists"), atomic_folder(target):
        pass
    assert names(tmp_path) == ["taken"]


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(OutputError, match="choose a writable folder"),
        atomic_folder(tmp_path / "file" / "new"),
    ):
        pass
