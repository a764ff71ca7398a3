import shutil
import subprocess

import pytest

pytest.importorskip("torch")

from fauxface_train import provenance

GIT = shutil.which("git")


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, False),
        ({"provenance": {"initial_weights": {"kind": "imagenet"}}}, False),
        ({"provenance": {"initial_weights": {"kind": "bundle"}}}, True),
        ({"training": {"initial_weights": {"kind": "safetensors", "from_bundle": True}}}, True),
        ({"provenance": {"teachers": [{"kind": "checkpoint"}, {"kind": "bundle"}]}}, True),
        ({"provenance": {"teachers": [{"kind": "checkpoint", "from_bundle": False}, 3]}}, False),
        ({"provenance": 3}, False),
    ],
)
def test_what_a_bundle_taught_is_known_over_cycles(info, expected):
    assert provenance.from_bundle(info) is expected


@pytest.mark.skipif(GIT is None, reason="git isn't installed")
@pytest.mark.parametrize(
    ("edited", "marked"),
    [
        ("package/code.py", True),
        ("setup.toml", True),
        ("runtime/a.onnx", True),
        ("results/a.json", False),
    ],
)
def test_a_commit_is_marked_where_code_was_edited(edited, marked, tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run([GIT, *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ("package/code.py", "setup.toml", "runtime/a.onnx", "results/a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "package" / "code.py"))
    head = provenance.commit()
    assert head is not None
    assert len(head) == 40
    (tmp_path / "package" / "copy.py").write_text("installed")
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "__file__", str(tmp_path / "package" / "copy.py"))
        assert provenance.commit() is None
    (tmp_path / edited).write_text("new")
    assert provenance.commit() == (f"{head}+changes" if marked else head)


@pytest.mark.parametrize(
    ("initial", "teachers", "expected"),
    [
        (["a" * 64], [], ()),
        (["a" * 64, "b" * 64], [], ()),
        (["c" * 64], [], ("c" * 64,)),
        ([], [["a" * 64], ["c" * 64, "d" * 64]], ("c" * 64, "d" * 64)),
        ([], [], ()),
    ],
)
def test_what_models_before_had_learned_from_is_known(initial, teachers, expected):
    info = {
        "data": {"manifest_sha256": "a" * 64, "added": [{"manifest_sha256": "b" * 64}]},
        "provenance": {
            "initial_weights": {"kind": "bundle", "trained_on": initial},
            "teachers": [{"kind": "bundle", "trained_on": each} for each in teachers],
        },
    }
    assert provenance.learned_before(info) == expected
    every = dict.fromkeys(["a" * 64, "b" * 64, *initial, *(name for each in teachers for name in each)])
    assert provenance.trained_on(info) == tuple(every)
