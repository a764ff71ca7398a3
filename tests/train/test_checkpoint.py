import json

import pytest

torch = pytest.importorskip("torch")

from safetensors import SafetensorError  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torchvision.models import resnet34  # noqa: E402

from fauxface.errors import CheckpointError, OutputError  # noqa: E402
from fauxface_train import checkpoint  # noqa: E402
from fauxface_train.model import build  # noqa: E402


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return build().eval()


@pytest.fixture
def saved(net, tmp_path):
    return checkpoint.save(
        tmp_path / "run" / "best", net.state_dict(), checkpoint.describe(1.2, config={"a": 1})
    )


def test_round_trip(net, saved):
    crops = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8)
    for path in (saved, saved.parent, saved.with_suffix(".json")):
        loaded = checkpoint.load(path)
        assert loaded.path == saved
        assert loaded.info["config"] == {"a": 1}
        assert loaded.info["margin"] == 1.2
        assert loaded.info["labels"] == ["bona_fide", "generated"]
        with torch.inference_mode():
            expected = loaded.deployed().net(crops.permute(0, 3, 1, 2) * 0.0)
            assert torch.equal(expected, net(crops.permute(0, 3, 1, 2) * 0.0))
    assert json.loads(saved.with_suffix(".json").read_text()) == loaded.info


def test_leaves_no_temporary_files(saved):
    assert sorted(p.name for p in saved.parent.iterdir()) == ["best.json", "best.safetensors"]


def _rewrite(path, change_info=None, change_state=None):
    state = load_file(path)
    info = json.loads(path.with_suffix(".json").read_text())
    if change_info:
        change_info(info)
    if change_state:
        change_state(state)
    save_file(state, path, metadata={"fauxface": json.dumps(info)})


def _nan(state):
    state["conv1.weight"] = torch.full_like(state["conv1.weight"], float("nan"))


@pytest.mark.parametrize(
    ("info", "state", "message"),
    [
        (lambda i: i.update(format="fauxface.checkpoint/2"), None, "format"),
        (lambda i: i.update(format="other/1"), None, "format"),
        (lambda i: i.update(architecture="resnet50"), None, "architecture"),
        (lambda i: i.update(labels=["generated", "bona_fide"]), None, "labels"),
        (lambda i: i.update(input_size=224), None, "input_size"),
        (lambda i: i.update(mean=[0.5]), None, "mean"),
        (lambda i: i.pop("margin"), None, "margin"),
        (None, lambda s: s.pop("conv1.weight"), "conv1.weight is missing"),
        (None, lambda s: s.update(other=torch.zeros(1)), "other is unknown"),
        (None, lambda s: s.update({"fc.weight": torch.zeros(3, 512)}), r"fc.weight is \[3, 512\]"),
        (None, _nan, "NaN"),
    ],
)
def test_refuses_what_does_not_fit(saved, info, state, message):
    _rewrite(saved, info, state)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(saved)
    assert "\n" not in str(caught.value)


def test_refuses_another_architecture(saved):
    save_file(resnet34(num_classes=2).state_dict(), saved, {"fauxface": json.dumps(checkpoint.describe(1.2))})
    with pytest.raises(CheckpointError, match="isn't a resnet18"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    "content", [b"", b"not safetensors", b"\xff" * 64, None], ids=["empty", "text", "junk", "cut"]
)
def test_refuses_corrupt_files(saved, content):
    saved.write_bytes(saved.read_bytes()[:1000] if content is None else content)
    with pytest.raises(CheckpointError, match="corrupt"):
        checkpoint.load(saved)


def test_refuses_bare_weights(saved):
    save_file(load_file(saved), saved)
    with pytest.raises(CheckpointError, match="--weights"):
        checkpoint.load(saved)


def test_missing_and_unfinished(tmp_path, saved):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        checkpoint.load(tmp_path)
    saved.rename(saved.with_name("last.safetensors"))
    with pytest.raises(CheckpointError, match="no best checkpoint yet"):
        checkpoint.load(saved.parent)


def test_unwritable(net, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        checkpoint.save(tmp_path / "file" / "best", net.state_dict(), checkpoint.describe(1.2))


@pytest.mark.parametrize("error", [RuntimeError("no room"), SafetensorError("no room")])
def test_a_disk_without_room_is_an_output_error(tmp_path, error):
    target = tmp_path / "best.safetensors"
    target.write_text("before")

    def write():
        with checkpoint.writing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(OutputError, match="no room"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    assert target.read_text() == "before"


def test_a_worker_that_dies_meanwhile_is_no_full_disk(tmp_path):
    """torch tells of it in the main thread, wherever that is."""
    message = "DataLoader worker (pid 7) is killed by signal: Killed."
    with pytest.raises(RuntimeError, match="DataLoader worker"), checkpoint.writing(tmp_path / "a.pt"):
        raise RuntimeError(message)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_outlives_a_loss_of_power(net, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(checkpoint, "synced", lambda path: kept.append(path.stat().st_size))
    saved = checkpoint.save(tmp_path / "best", net.state_dict(), checkpoint.describe(1.2))
    assert kept == [saved.stat().st_size, saved.with_suffix(".json").stat().st_size]
