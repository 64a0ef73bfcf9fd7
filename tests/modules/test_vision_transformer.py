"""The vision transformer, written out token by token in a tiny size."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.modules.vision_transformer import MLP, Attention, Block, VisionTransformer
from tests.helpers.arrays import normal, randomized


def attended(attention: Attention, x: Tensor) -> Tensor:
    """Head by head, token by token, for one sample ``(tokens, width)``."""
    tokens, width = x.shape
    size = width // attention.heads
    q, k, v = F.linear(x, attention.qkv.weight, attention.qkv.bias).split(width, dim=1)
    out = torch.zeros_like(x)
    for head in range(attention.heads):
        part = slice(head * size, (head + 1) * size)
        for token in range(tokens):
            shares = torch.softmax((k[:, part] @ q[token, part]) / math.sqrt(size), 0)
            out[token, part] = shares @ v[:, part]
    return F.linear(out, attention.proj.weight, attention.proj.bias)


def test_attention():
    attention, x = randomized(Attention(6, 2)), normal(2, 5, 6)
    torch.testing.assert_close(attention(x), torch.stack([attended(attention, sample) for sample in x]))


def test_the_mlp_has_exact_gelu():
    mlp, x = randomized(MLP(3)), normal(4, 3)
    hidden = F.linear(x, mlp.fc1.weight, mlp.fc1.bias)
    assert hidden.shape == (4, 12)
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    torch.testing.assert_close(mlp(x), F.linear(hidden, mlp.fc2.weight, mlp.fc2.bias))


def test_a_block_normalizes_first_and_scales_what_it_adds():
    block, x = randomized(Block(6, 2)), normal(1, 5, 6)
    normed = F.layer_norm(x, (6,), block.norm1.weight, block.norm1.bias, 1e-6)
    y = x + block.ls1.gamma * block.attn(normed)
    normed = F.layer_norm(y, (6,), block.norm2.weight, block.norm2.bias, 1e-6)
    torch.testing.assert_close(block(x), y + block.ls2.gamma * block.mlp(normed), rtol=1e-12, atol=1e-12)


def tiny(grid: int = 3, depth: int = 3) -> VisionTransformer:
    return randomized(VisionTransformer(width=6, depth=depth, heads=2, patch=2, grid=grid))


def test_tokens_of_the_last_blocks_without_the_class_token():
    network, images = tiny(), normal(2, 3, 6, 6)
    patches = F.conv2d(images, network.patch_embed.proj.weight, network.patch_embed.proj.bias, stride=2)
    # Row by row.
    tokens = torch.stack([patches[:, :, i // 3, i % 3] for i in range(9)], dim=1)
    x = torch.cat([network.cls_token.expand(2, 1, 6), tokens], dim=1) + network.pos_embed
    expected = []
    for block in network.blocks:
        x = block(x)
        expected.append(F.layer_norm(x, (6,), network.norm.weight, network.norm.bias, 1e-6)[:, 1:])
    torch.testing.assert_close(network(images, last=2), expected[1:])
    torch.testing.assert_close(network(images), expected)


def test_positions_of_another_grid_are_enlarged_by_scale_factors():
    """The grid of 2 x 2 positions at 4 x 6 patches, sampled with factors (4 + 0.1) / 2 and (6 + 0.1) / 2."""
    network = tiny(grid=2, depth=0)
    grid = network.pos_embed[0, 1:].T.reshape(1, 6, 2, 2)
    large = F.interpolate(grid, scale_factor=(2.05, 3.05), mode='bicubic', recompute_scale_factor=False)
    assert large.shape == (1, 6, 4, 6)
    found = network.positions(4, 6)
    torch.testing.assert_close(found[:, :1], network.pos_embed[:, :1])
    torch.testing.assert_close(found[0, 1:], large[0].flatten(1).T)
    assert network.positions(2, 2) is network.pos_embed


def test_default_size_is_vit_b_14():
    with torch.device('meta'):
        network = VisionTransformer()
    assert len(network.blocks) == 12 and network.blocks[0].attn.heads == 12
    assert network.pos_embed.shape == (1, 1 + 37 * 37, 768)
    assert network.patch_embed.proj.weight.shape == (768, 3, 14, 14) and network.patch_embed.proj.stride == (14, 14)


def test_a_grid_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setattr(VisionTransformer, 'SCALE_OFFSET', -1.0)
    with pytest.raises(ValueError, match='4 x 6 patches'):
        tiny(grid=2, depth=0).positions(4, 6)
