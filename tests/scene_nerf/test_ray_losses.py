"""Losses on transmittance, against slow versions, in value and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.scene_nerf.ray_losses import sky_loss, spread_loss


def test_sky_loss_is_what_ends_in_the_sky_and_what_passes_elsewhere():
    passed = torch.tensor([0.0025, 0.36, 1.0, 0.6, 0.2], dtype=torch.float64, requires_grad=True)
    sky = torch.tensor([1.0, -1.0, 0.5, 0.0, -0.25], dtype=torch.float64)
    slow = [2 * (1 - t.sqrt()) * s if s > 0 else -s * t for t, s in zip(passed, sky, strict=True)]
    expected = sum(slow) / 5
    loss = sky_loss(passed, sky)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(loss, torch.tensor((2 * 0.95 + 0.36 + 0.05) / 5, dtype=torch.float64))
    gradients = (torch.autograd.grad(one, passed)[0] for one in (loss, expected))
    torch.testing.assert_close(*gradients)


def test_sky_loss_draws_what_is_nearly_opaque_out_of_the_sky():
    """By the density, which passing light depends on as exp(-density), it falls slowly; and it ends at 1/1000."""
    density = torch.tensor([0.0, 2.0, 6.0, 50.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(sky_loss(torch.exp(-density), torch.ones(4)), density)
    torch.testing.assert_close(gradient, torch.tensor([1, np.exp(-1), np.exp(-3), 0], dtype=torch.float64) / 4)


@pytest.mark.parametrize(('label', 'value'), [(0.0, 0.0), (1.0, 2 - 0.5 - 0.75**0.5), (-1.0, 0.5)])
def test_sky_loss_of_one_kind_of_rays(label, value):
    """No sky in a batch, nothing but sky, nothing known."""
    loss = sky_loss(torch.tensor([0.25, 0.75]), torch.full((2,), label))
    assert loss.item() == pytest.approx(value, abs=1e-6)


def test_spread_is_the_distance_of_all_pairs_of_weights():
    weights = torch.tensor([[0.1, 0.5, 0.2], [0.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    places = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    pairs = sum(
        weights[:, i] * weights[:, j] * (places[i] - places[j]).abs() for i in range(3) for j in range(3)
    ).mean()
    asked = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    before = 1 - (weights[:, None] * (places < asked[:, None])).sum(-1)
    loss = 2 * spread_loss(1 - weights.sum(1), before)
    torch.testing.assert_close(loss, pairs)
    gradients = (torch.autograd.grad(one, weights)[0] for one in (loss, pairs))
    torch.testing.assert_close(*gradients)
