"""Words to vectors."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.errors import InputError
from projects.DistillNeRF.semantics.classes import code_vector
from projects.DistillNeRF.text_queries import encode_words


def test_vectors_come_in_the_order_of_the_words():
    vectors = encode_words('minitown_code_book', ['car', 'road'], 64)
    assert vectors.dtype == torch.float32 and vectors.shape == (2, 64)
    assert vectors[0].tolist() == code_vector('car').tolist() and vectors[1].tolist() == code_vector('road').tolist()
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ('encoder', 'channels', 'word'),
    [(None, 64, 'text_encoder'), ('x', 64, "'x'; choose"), ('minitown_code_book', 63, '63 channels')],
)
def test_encoders_that_do_not_fit(encoder, channels, word):
    with pytest.raises(InputError, match=word):
        encode_words(encoder, ['car'], channels)
