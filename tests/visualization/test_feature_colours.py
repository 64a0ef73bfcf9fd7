"""Features as colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.visualization.colors import FeatureColours


def known(count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of a known subspace: coordinates ``(n, 3)`` of falling variance, and their features ``(n, 16)``."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(16, 3, generator=generator, dtype=torch.double)).Q.T
    basis = basis * basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()
    coordinates = torch.rand(count, 3, generator=generator, dtype=torch.double) * torch.tensor([9.0, 3.0, 1.0])
    return coordinates, coordinates @ basis + 5


def test_the_colours_are_the_coordinates_of_the_subspace():
    coordinates, features = known(20_000)
    colours = torch.from_numpy(FeatureColours.fit(features).colours(features)).double() / 255
    low, high = coordinates.quantile(torch.tensor([0.02, 0.98], dtype=torch.double), dim=0)
    torch.testing.assert_close(colours, ((coordinates - low) / (high - low)).clamp(0, 1), atol=0.03, rtol=0)


def test_the_same_feature_has_the_same_colour_in_every_camera():
    features = known(600)[1].view(6, 10, 10, 16)
    features[4, 2, 3] = features[1, 7, 7]
    colours = FeatureColours.fit(features)
    images = np.stack([colours.colours(camera) for camera in features])
    assert images.shape == (6, 10, 10, 3) and images.dtype == np.uint8
    assert np.array_equal(images[4, 2, 3], images[1, 7, 7])
    assert np.array_equal(images, colours.colours(features))


def test_signs_do_not_depend_on_the_order_of_what_is_fitted():
    _, features = known()
    first, second = FeatureColours.fit(features), FeatureColours.fit(features.flip(0))
    assert np.array_equal(first.colours(features), second.colours(features))


def test_few_outliers_do_not_darken_the_rest():
    _, features = known()
    plain = FeatureColours.fit(features).colours(features)
    outlier = features.mean(0) + 20 * (features[0] - features.mean(0))
    spoilt = FeatureColours.fit(torch.cat([features, outlier[None]])).colours(features)
    assert spoilt.std(0).min() > plain.std(0).min() / 2


def test_what_is_unknown_is_black_and_does_not_count():
    _, features = known()
    fitted = FeatureColours.fit(torch.cat([features, torch.full((9, 16), torch.nan, dtype=torch.double)]))
    assert np.array_equal(fitted.colours(features), FeatureColours.fit(features).colours(features))
    assert fitted.colours(torch.full((2, 16), torch.nan)).tolist() == [[0, 0, 0]] * 2
    with pytest.raises(ValueError, match='finite'):
        FeatureColours.fit(torch.full((2, 16), torch.nan))


@pytest.mark.parametrize('features', [torch.ones(5, 4), torch.arange(5.0)[:, None], torch.zeros(1, 2)])
def test_features_without_three_dimensions(features):
    colours = FeatureColours.fit(features).colours(features)
    assert colours.shape == (len(features), 3)
    assert (colours[:, 1:] == 128).all()
