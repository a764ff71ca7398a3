import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from fauxface_export import program  # noqa: E402
from fauxface_train.model import Deployed, build  # noqa: E402


def test_a_program_holds_to_no_device(tmp_path):
    """torch.export notes of each conversion where its tensor lay: another device would be refused."""
    torch.manual_seed(0)
    deployed = Deployed(build()).eval()
    program.save(program.capture(deployed), tmp_path / "a.pt2")
    loaded = torch.export.load(tmp_path / "a.pt2")
    named = [node for node in loaded.graph.nodes if "device" in node.kwargs]
    assert named == []
    crops = torch.randint(0, 256, (3, 128, 128, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.module()(crops), deployed(crops))
