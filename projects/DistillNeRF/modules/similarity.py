"""How much features are like vectors of the same space, such as embeddings of words."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .autocast import exact_einsum


def similarities(features: Tensor, vectors: Tensor) -> Tensor:
    """Cosines ``(Q, V, h, w)`` in [-1, 1] of features ``(V, C, h, w)`` and vectors ``(Q, C)``; 0 for zeros.

    Raises:
        ValueError: the vectors have another number of channels.
    """
    if vectors.ndim != 2 or vectors.shape[1] != features.shape[1]:
        raise ValueError(f'query vectors are {tuple(vectors.shape)}, the features have {features.shape[1]} numbers')
    return exact_einsum('qc,vchw->qvhw', F.normalize(vectors.to(features), dim=1), F.normalize(features, dim=1))
