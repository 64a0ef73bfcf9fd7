"""Cosines of features and vectors that can be told by hand."""

from __future__ import annotations

import math

import pytest
import torch

from projects.DistillNeRF.modules.similarity import similarities


def test_cosines():
    """Two views of 1 x 2 pixels and two channels, three vectors of any length."""
    features = torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]], [[[1.0, 0.0]], [[1.0, 0.0]]]])
    vectors = torch.tensor([[5.0, 0.0], [0.0, -0.1], [1.0, 1.0]])
    half = math.sqrt(0.5)
    expected = [[[[1.0, 0.0]], [[half, 0.0]]], [[[0.0, -1.0]], [[-half, 0.0]]], [[[half, half]], [[1.0, 0.0]]]]
    torch.testing.assert_close(similarities(features, vectors), torch.tensor(expected))


def test_vectors_take_the_precision_of_the_features():
    assert similarities(torch.ones(1, 2, 1, 1, dtype=torch.float64), torch.ones(1, 2)).dtype == torch.float64


@pytest.mark.parametrize('shape', [(2,), (1, 3), (1, 2, 1)])
def test_other_widths_are_refused(shape):
    with pytest.raises(ValueError, match='features have 2 numbers'):
        similarities(torch.ones(1, 2, 1, 1), torch.ones(shape))
