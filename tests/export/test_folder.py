import json
import shutil
import signal
from pathlib import Path

import pytest

pytest.importorskip("torch")

from fauxface.errors import GateError, OutputError
from fauxface.signals import ended_as_by_ctrl_c
from fauxface_export.folder import staged


@pytest.fixture
def bundle(tmp_path):
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "bundle.json").write_text("old")
    return out


def test_it_appears_whole(tmp_path):
    out = tmp_path / "deep" / "bundle"
    with staged(out) as folder:
        (folder / "a").write_text("a")
        assert not out.exists()
        assert folder.parent == out.parent
    assert [p.name for p in out.iterdir()] == ["a"]
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("error", [GateError("no"), KeyboardInterrupt(), RuntimeError()])
def test_nothing_is_left_after_an_error(tmp_path, error):
    def write():
        with staged(tmp_path / "bundle") as folder:
            (folder / "a").write_text("a")
            raise error

    with pytest.raises(type(error)):
        write()
    assert list(tmp_path.iterdir()) == []


def test_the_old_bundle_stays_after_an_error(bundle):
    with pytest.raises(GateError), staged(bundle, overwrite=True):
        raise GateError("no")
    assert (bundle / "bundle.json").read_text() == "old"
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_bundle_is_replaced_when_asked(bundle):
    with staged(bundle, overwrite=True) as folder:
        (folder / "bundle.json").write_text("new")
        assert (bundle / "bundle.json").read_text() == "old"
    assert (bundle / "bundle.json").read_text() == "new"
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_folder_with_nothing_but_the_licence_may_become_a_bundle(tmp_path):
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "LICENSE-WEIGHTS.md").write_text("terms")
    with staged(out, overwrite=True) as folder:
        (folder / "bundle.json").write_text("new")
    assert [p.name for p in out.iterdir()] == ["bundle.json"]


TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"


@pytest.mark.parametrize("foreign", ["evaluation/metrics.json", "thesis.txt", "classifier.onnx.bak"])
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_file_of_a_bundle_is_never_deleted(tmp_path, foreign, whole):
    out = tmp_path / "bundle"
    if whole:
        shutil.copytree(TINY, out)
    else:
        out.mkdir()
        (out / "bundle.json").write_text('{"webpack": 1}')
    (out / foreign).parent.mkdir(exist_ok=True)
    (out / foreign).write_text("mine")
    with pytest.raises(OutputError, match=f"holds {foreign}, no file"), staged(out, overwrite=True):
        pytest.fail("the body must not run")
    assert (out / foreign).read_text() == "mine"


def test_files_of_other_names_that_the_manifest_lists_are_replaced(variant_bundle):
    document = json.loads((variant_bundle / "bundle.json").read_text())
    document["classifier"]["int8"] = "other.onnx"
    document["files"]["other.onnx"] = document["files"].pop("classifier.int8.onnx")
    (variant_bundle / "classifier.int8.onnx").rename(variant_bundle / "other.onnx")
    (variant_bundle / "bundle.json").write_text(json.dumps(document))
    with staged(variant_bundle, overwrite=True) as folder:
        (folder / "bundle.json").write_text("new")
    assert [p.name for p in variant_bundle.iterdir()] == ["bundle.json"]


@pytest.mark.parametrize(
    ("name", "overwrite", "message"),
    [
        ("bundle", False, "exists; choose another --out, or give --overwrite"),
        ("other", True, "thesis.txt"),
        ("file", True, "isn't a bundle"),
        ("link", True, "isn't a bundle"),
        ("file/bundle", False, "can't write"),
    ],
)
def test_refused(tmp_path, bundle, name, overwrite, message):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(bundle)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=message), staged(tmp_path / name, overwrite=overwrite):
        pytest.fail("the body must not run")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bundle_that_appears_meanwhile_is_kept(tmp_path):
    out = tmp_path / "bundle"

    def write():
        with staged(out):
            out.mkdir()
            (out / "a").write_text("theirs")

    with pytest.raises(OutputError, match="exists"):
        write()
    assert [p.name for p in out.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (OSError(28, "No space left on device"), True),
        (BrokenPipeError(32, "Broken pipe"), False),
        (OSError(28, "No space left on device", "/elsewhere/quantised.onnx"), False),
    ],
)
def test_errors_of_other_places_are_not_called_those_of_the_bundle(tmp_path, error, is_ours):
    with pytest.raises(OutputError if is_ours else OSError) as caught, staged(tmp_path / "bundle"):
        raise error
    assert (caught.value is error) != is_ours
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [1, 2])
def test_a_signal_amid_the_swap_comes_too_late(tmp_path, monkeypatch, step):
    """The old bundle isn't lost, and none is said to be missing that was written."""
    out, renames, rename = tmp_path / "bundle", [], Path.rename
    out.mkdir()
    (out / "bundle.json").write_text("old")

    def cut(self, target):
        renames.append(target)
        if len(renames) == step:
            signal.raise_signal(signal.SIGTERM)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", cut)
    with ended_as_by_ctrl_c(), staged(out, overwrite=True) as folder:
        (folder / "bundle.json").write_text("new")
    assert (out / "bundle.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_old_bundle_is_put_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    out, rename = tmp_path / "bundle", Path.rename
    out.mkdir()
    (out / "bundle.json").write_text("old")

    def fails(self, target):
        if not self.name.endswith(".old") and target == out:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OutputError, match="Input/output"), staged(out, overwrite=True) as folder:
        (folder / "bundle.json").write_text("new")
    assert (out / "bundle.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
