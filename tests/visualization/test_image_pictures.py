"""Images as bytes, and heat over them, by hand."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from projects.DistillNeRF.visualization.feature_rows import draw_heat_map
from projects.DistillNeRF.visualization.panel_layout import to_uint8


def test_shades_are_rounded_and_clamped_and_channels_come_last():
    image = torch.tensor([-0.2, 0.5, 1.7]).view(3, 1, 1).expand(3, 2, 4).clone()
    image[0, 1, 3] = 0.1
    pixels = to_uint8(image)
    assert pixels.shape == (2, 4, 3) and pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == [0, 128, 255] and pixels[1, 3].tolist() == [26, 128, 255]
    assert to_uint8(image[None].requires_grad_()).shape == (1, 2, 4, 3)


def test_heat_by_hand():
    """Nothing at 0 and below, the brightest color alone at 1 and above, half of each at 0.5."""
    inferno = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    image = np.full((1, 4, 3), (200, 100, 40), np.uint8)
    drawn = draw_heat_map(np.array([[-1.0, 0.0, 0.5, 3.0]]), image)
    dimmed = np.array([90, 45, 18])
    assert drawn[0, :2].tolist() == [dimmed.tolist()] * 2
    np.testing.assert_allclose(drawn[0, 2], (dimmed + inferno[128].astype(float)) / 2, atol=1)
    assert drawn[0, 3].tolist() == inferno[255].tolist()


def test_similarities_are_blended_to_the_size_of_the_image():
    """Columns at -0.25, 0.25, 0.75, 1.25 of the old ones: 0, 0.25, 0.75, 1 of the heat."""
    image = np.zeros((3, 4, 3), np.uint8)
    drawn = draw_heat_map(np.array([[0.0, 1.0]]), image)
    same = draw_heat_map(np.array([[0.0, 0.25, 0.75, 1.0]]), image[:1])
    assert drawn.shape == (3, 4, 3)
    np.testing.assert_array_equal(drawn, np.repeat(same, 3, axis=0))
