"""The cross entropy of depth bins against a slow plain version."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.losses.depth import MIN_WEIGHT, depth_bins_loss
from projects.DistillNeRF.modules.depth_bins import LogBins, expectation_around

BINS = LogBins(7, 1.0, 128.0)
NAN = float('nan')


def edges(views: int) -> Tensor:
    return BINS.edges(torch.empty((), dtype=torch.float64)).expand(views, -1)


def draw(views: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    logits = torch.randn(views, 7, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (3 * logits).softmax(1)


def spread(depth: float) -> dict[int, float]:
    """Return the share of every bin in a depth; its centers are 2 ** (i + 0.5)."""
    place = min(max(math.log2(depth) - 0.5, 0.0), 6.0)
    low = min(int(place), 5)
    return {low: 1 - (place - low), low + 1: place - low}


def slow_loss(weights: Tensor, target: Tensor) -> float:
    (_, _, height, width), (rows, columns), values = weights.shape, target.shape[1:], []
    for view, row, column in torch.cartesian_prod(*(torch.arange(n) for n in target.shape)).tolist():
        if not math.isfinite(depth := target[view, row, column].item()):
            continue
        # The pixel in which the center lies; that on a border belongs to the first one.
        y, x = math.ceil((row + 0.5) * height / rows) - 1, math.ceil((column + 0.5) * width / columns) - 1
        pixel = weights[view, :, y, x]
        values.append(-sum(share * math.log(max(pixel[i].item(), MIN_WEIGHT)) for i, share in spread(depth).items()))
    return sum(values) / max(1, len(values))


@pytest.mark.parametrize('size', [(4, 6), (8, 12), (2, 3), (6, 5)])
def test_value(size):
    """Targets of the size of the estimate, finer, coarser, and of another shape; some before and behind all bins."""
    weights = draw(2, (4, 6))
    target = torch.rand(2, *size, generator=torch.Generator().manual_seed(1)) * 150
    target[0, 0, 0], target[1, 0, 1], target[1, 1, 0], target[1, 1, 1] = 0.3, NAN, math.inf, 1.0
    loss = depth_bins_loss(weights, edges(2), target)
    assert loss.item() == pytest.approx(slow_loss(weights, target), rel=1e-5)


def test_gradient():
    weights = draw(2, (2, 3)).float().requires_grad_()
    target = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(2)) * 150
    target[0, :2] = NAN
    depth_bins_loss(weights, edges(2), target).backward()
    shares = torch.zeros(2, 7, 2, 3)
    for view, row, column in target.isfinite().nonzero().tolist():
        for i, share in spread(target[view, row, column].item()).items():
            shares[view, i, row // 2, column // 2] += share
    torch.testing.assert_close(weights.grad, -shares / weights.detach() / target.isfinite().sum())


def test_the_best_weights_give_the_depth_back():
    target = torch.tensor([[[2.0, 3.3, 17.0, 90.0]]])
    logits = torch.zeros(1, 7, 1, 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        depth_bins_loss(logits.softmax(1), edges(1).float(), target).backward()
        optimizer.step()
    weights = logits.detach().softmax(1).movedim(1, -1).flatten(0, 2)
    torch.testing.assert_close(
        expectation_around(weights, edges(1)[0].float(), weights.argmax(-1), 1), target.flatten(), rtol=0.01, atol=0
    )


def test_a_pixel_on_a_silhouette_learns_both_surfaces():
    weights = torch.full((1, 7, 1, 1), 0.1)
    weights[0, 1], weights[0, 5] = 0.2, 0.3
    on_centers = torch.tensor([2.0**1.5, 2.0**5.5])
    loss = depth_bins_loss(weights, edges(1), on_centers.view(1, 1, 2))
    assert loss.item() == pytest.approx(-(math.log(0.2) + math.log(0.3)) / 2, rel=1e-5)


def test_nothing_known_is_zero_and_connected():
    weights = draw(1, (2, 3)).requires_grad_()
    loss = depth_bins_loss(weights, edges(1), torch.full((1, 2, 3), NAN))
    loss.backward()
    assert loss.item() == 0 and not weights.grad.any()


def test_weights_of_zero_have_a_finite_loss_and_gradient():
    weights = torch.zeros(1, 7, 1, 1)
    weights[0, 6] = 1.0
    weights.requires_grad_()
    loss = depth_bins_loss(weights, edges(1), torch.full((1, 1, 1), 3.0))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(MIN_WEIGHT)) and weights.grad.isfinite().all()


def test_shapes_that_do_not_fit_are_refused():
    weights = draw(2, (2, 3))
    for others in (
        (edges(2)[:, 1:], torch.ones(2, 2, 3)),
        (edges(2), torch.ones(1, 2, 3)),
        (edges(1), torch.ones(2, 2, 3)),
    ):
        with pytest.raises(ValueError, match=r'weights \(2, 7, 2, 3'):
            depth_bins_loss(weights, *others)
