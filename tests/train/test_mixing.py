import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from fauxface_train import mixing  # noqa: E402


@pytest.fixture
def batch():
    """Plain pictures, each of a value of its own; the odd ones are generated."""
    values = torch.arange(1, 9, dtype=torch.uint8)
    return values.view(-1, 1, 1, 1).repeat(1, 128, 128, 3), torch.arange(8) % 2


@pytest.mark.parametrize(("share", "changed"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_a_share_of_the_pictures_shows_a_rectangle_of_another(batch, share, changed):
    crops, labels = batch
    before = crops.clone()
    mixed, generated = mixing.paste(crops, labels, share, np.random.default_rng(0))
    assert torch.equal(crops, before)
    assert generated.shape == (8, 128, 128)
    touched = [i for i in range(8) if not torch.equal(mixed[i], crops[i])]
    assert len(touched) == changed
    for i in range(8):
        other = mixed[i, ..., 0] != crops[i, ..., 0]
        rows, columns = other.any(1), other.any(0)
        assert torch.equal(other, rows[:, None] & columns[None, :])
        if i in touched:
            assert mixed[i][other].unique().numel() == 1
            assert 0.08 < other.float().mean() < 0.52
        shown = labels[mixed[i, ..., 0].long() - 1].float()
        assert torch.equal(generated[i], shown)


def test_a_picture_without_another_stays(batch):
    crops, labels = batch[0][1:2], batch[1][1:2]
    mixed, generated = mixing.paste(crops, labels, 1.0, np.random.default_rng(0))
    assert torch.equal(mixed, crops)
    assert torch.equal(generated, torch.ones(1, 128, 128))


def test_pasting_depends_on_the_generator_alone(batch):
    first, again, other = (mixing.paste(*batch, 0.5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_loss_of_whole_labels_is_the_cross_entropy():
    cells = torch.randn(6, 1, 1, 2, generator=torch.Generator().manual_seed(0)).repeat(1, 4, 4, 1)
    labels = torch.tensor([0, 1, 1, 0, 0, 1])
    generated = labels.float().view(-1, 1, 1).repeat(1, 128, 128)
    torch.testing.assert_close(mixing.loss(cells, generated), F.cross_entropy(cells[:, 0, 0], labels))


def test_loss_asks_each_place():
    generated = torch.zeros(1, 128, 128)
    generated[:, :, 64:] = 1
    right = torch.zeros(1, 4, 4, 2)
    right[..., 1] = 8 * (F.avg_pool2d(generated, 32) - 0.5)
    assert mixing.loss(right, generated) < mixing.loss(-right, generated)
    assert mixing.loss(right, generated) < mixing.loss(torch.zeros_like(right), generated)


def test_a_mixed_cell_is_asked_for_its_share():
    generated = torch.zeros(1, 128, 128)
    generated[:, :32, :8] = 1

    def of_the_cells(odds):
        scores = torch.zeros(1, 4, 4, 2)
        scores[..., 1] = -20.0
        scores[0, 0, 0, 1] = odds
        whole = F.cross_entropy(scores.mean((1, 2)), torch.tensor([[63 / 64, 1 / 64]]))
        return float(2 * mixing.loss(scores, generated) - whole)

    best = of_the_cells(np.log(0.25 / 0.75))
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert best == pytest.approx(entropy / 16, abs=1e-5)
    assert best < min(of_the_cells(-0.8), of_the_cells(-1.4))
