import pytest

torch = pytest.importorskip("torch")

from torchvision.transforms import v2  # noqa: E402

from fauxface_train.model import IMAGENET_MEAN, IMAGENET_STD, Deployed, build  # noqa: E402


@pytest.fixture(scope="module")
def deployed():
    torch.manual_seed(0)
    return Deployed(build()).eval()


@pytest.fixture(scope="module")
def crops():
    return torch.randint(
        0, 256, (5, 128, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def test_head_has_two_outputs():
    assert build().fc.out_features == 2


def test_normalises_as_torchvision_does(deployed, crops):
    reference = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD))]
    )(crops.permute(0, 3, 1, 2))
    pixels = crops.permute(0, 3, 1, 2).float()
    torch.testing.assert_close(pixels * deployed.scale + deployed.offset, reference, atol=2e-6, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(deployed(crops), deployed.net(reference), atol=1e-5, rtol=1e-5)


def test_logits_are_float32_under_autocast(deployed, crops):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        scores = deployed(crops)
    assert scores.dtype == torch.float32
    assert scores.shape == (5, 2)


def test_exports_with_a_dynamic_batch(deployed, crops):
    program = torch.export.export(
        deployed, (crops[:2],), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
    )
    for count in (1, 2, 5):
        with torch.inference_mode():
            torch.testing.assert_close(program.module()(crops[:count]), deployed(crops[:count]))


def test_embedding_ends_in_the_same_logits(deployed, crops):
    with torch.no_grad():
        features, logits = deployed.eval().embed(crops)
        assert torch.equal(logits, deployed(crops))
        assert torch.equal(deployed.net.fc(features), logits)


def test_the_mean_of_the_cells_is_the_whole(deployed, crops):
    with torch.no_grad():
        cells = deployed.eval().cells(crops)
        assert cells.shape == (5, 4, 4, 2)
        torch.testing.assert_close(cells.mean((1, 2)), deployed(crops), atol=1e-5, rtol=1e-5)
