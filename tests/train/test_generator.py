import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from fauxface.errors import CheckpointError, DataError, OutputError
from fauxface_train.generator.net import LATENT, SIZE, Discriminator, Generator
from fauxface_train.generator.training import GeneratorConfig, augment, principal_codes, sample, train

CONFIG = GeneratorConfig(steps=2, warm=1, batch=4)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)


def test_generator_maps_latents_to_pictures():
    made = Generator()(torch.randn(2, LATENT))
    assert made.shape == (2, 3, SIZE, SIZE)
    assert made.abs().max() <= 1


def test_discriminator_scores_and_rebuilds():
    network = Discriminator()
    scores, features = network(torch.randn(2, 3, SIZE, SIZE))
    assert scores.shape == (2, 1, 5, 5)
    assert network.rebuild(features).shape == (2, 3, SIZE // 4, SIZE // 4)


def test_augmentation_keeps_shape_and_lets_gradients_through():
    picture = torch.zeros(2, 3, SIZE, SIZE, requires_grad=True)
    changed = augment(picture, torch.Generator().manual_seed(0))
    changed.sum().backward()
    assert changed.shape == picture.shape
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0


def test_codes_are_whitened_components(pictures):
    codes = principal_codes(pictures)
    assert codes.shape == (4, LATENT)
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(codes[:, :3].std(0, ddof=1), 1, atol=1e-3)
    assert not codes[:, 3:].any()


def test_sample_is_uint8_rgb_and_deterministic():
    torch.manual_seed(0)
    generator, latent = Generator(), torch.randn(2, LATENT)
    first, second = sample(generator, latent), sample(generator, latent)
    assert first.shape == (2, SIZE, SIZE, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


def test_continued_run_equals_an_uninterrupted_one(tmp_path, pictures, monkeypatch):
    whole = torch.load(train(pictures, tmp_path / "whole", CONFIG), weights_only=True)
    from fauxface_train.generator import training

    monkeypatch.setattr(training, "_SAVE_EVERY_S", 0.0)
    kept = training.Duel.step
    steps = []

    def interrupted(duel):
        if len(steps) == 1:
            raise KeyboardInterrupt
        steps.append(1)
        return kept(duel)

    monkeypatch.setattr(training.Duel, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(pictures, tmp_path / "parts", CONFIG)
    monkeypatch.setattr(training.Duel, "step", kept)
    parts = torch.load(train(pictures, tmp_path / "parts", CONFIG), weights_only=True)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_other_settings_and_damage_are_refused(tmp_path, pictures):
    train(pictures, tmp_path, CONFIG)
    with pytest.raises(DataError, match="other settings"):
        train(pictures, tmp_path, dataclasses.replace(CONFIG, seed=1))
    with pytest.raises(DataError, match="other pictures"):
        train(255 - pictures, tmp_path, CONFIG)
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"checkpoint.pt can't be read"):
        train(pictures, tmp_path, CONFIG)


def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr("fauxface_train.generator.training.Duel.step", lambda _: pytest.fail("it trained"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        train(pictures, tmp_path / "file", CONFIG)


def test_too_few_pictures_are_refused(tmp_path, pictures):
    with pytest.raises(DataError, match="fewer than a batch"):
        train(pictures[:1], tmp_path, CONFIG)
