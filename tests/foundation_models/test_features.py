"""Dense features: against the models' own functions, and where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from projects.DistillNeRF.foundation_models.features import FeatureModel, open_features, resized_positions
from projects.DistillNeRF.foundation_models.preprocess import named_normalization, place
from tests.helpers.refusals import assert_refused
from tests.helpers.tiny_models import pooling_onnx, write_model

KINDS = {'clip': 'clip', 'dino': 'dino', 'registers': 'dino', 'siglip': 'siglip', 'siglip2': 'siglip'}
# Patches of 8 pixels, trained on 5 x 5 of them.
SQUARE, WIDE = (40, 40), (24, 56)


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp('models')
    return {kind: write_model(root / kind, kind) for kind in (*KINDS, 'clip_text', 'clip_vision')}


@pytest.fixture(scope='module')
def even(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp('even')
    return {kind: write_model(root / kind, kind, even=True) for kind in KINDS}


def opened(folders, kind: str, stride: int | None = None) -> FeatureModel:
    return open_features(KINDS[kind], folders[kind], device='cpu', stride=stride)


def pixels(size: tuple[int, int], count: int = 2) -> torch.Tensor:
    return torch.rand(count, *size, 3, generator=torch.Generator().manual_seed(1))


def own(kind: str, folder: Path):
    """The whole model, as transformers itself loads it."""
    import transformers

    names = {
        'clip': 'CLIPModel',
        'dino': 'Dinov2Model',
        'registers': 'Dinov2WithRegistersModel',
        'siglip': 'SiglipModel',
        'siglip2': 'Siglip2Model',
    }
    return getattr(transformers, names[kind]).from_pretrained(folder).eval()


@torch.no_grad()
@pytest.mark.parametrize('size', [SQUARE, WIDE])
@pytest.mark.parametrize('kind', ['dino', 'registers'])
def test_dino_features_are_the_tokens_of_the_model(folders, kind, size):
    model = opened(folders, kind)
    images = model.normalization(pixels(size))
    rows, columns = size[0] // 8, size[1] // 8
    tokens = own(kind, folders[kind])(images).last_hidden_state[:, -rows * columns :]
    expected = tokens.reshape(2, rows, columns, 32).permute(0, 3, 1, 2)
    assert torch.allclose(model(pixels(size)), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('size', [SQUARE, WIDE])
def test_clip_features_are_those_of_a_token_that_attends_to_itself_alone(folders, size):
    model, whole = opened(folders, 'clip'), own('clip', folders['clip'])
    images = model.normalization(pixels(size))
    states = whole.vision_model(images, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states[-2]
    block = whole.vision_model.encoder.layers[-1]
    alone = block.layer_norm1(states[:, 1:]).reshape(-1, 1, 32)
    values = block.self_attn(alone)[0].reshape(2, -1, 32)
    expected = F.normalize(whole.visual_projection(whole.vision_model.post_layernorm(values)), dim=-1)
    found = model(pixels(size))
    assert found.shape == (2, 24, size[0] // 8, size[1] // 8)
    assert torch.allclose(found.flatten(2).transpose(1, 2), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('size', [SQUARE, WIDE])
@pytest.mark.parametrize('kind', ['siglip', 'siglip2'])
def test_siglip_features_are_what_the_head_pools_of_one_token_alone(folders, kind, size):
    model, whole = opened(folders, kind), own(kind, folders[kind]).vision_model
    images = model.normalization(pixels(size))
    rows, columns = size[0] // 8, size[1] // 8
    if kind == 'siglip':
        states = whole(images, interpolate_pos_encoding=True).last_hidden_state
    else:
        patches = images.reshape(2, 3, rows, 8, columns, 8).permute(0, 2, 4, 3, 5, 1).reshape(2, rows * columns, -1)
        shapes = torch.tensor([[rows, columns]] * 2)
        states = whole(patches, torch.ones(2, rows * columns, dtype=torch.long), shapes).last_hidden_state
    expected = F.normalize(whole.head(states.reshape(-1, 1, 32)), dim=-1).reshape(2, -1, 32)
    assert torch.allclose(model(pixels(size)).flatten(2).transpose(1, 2), expected, atol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_fewer_pixels_from_patch_to_patch_make_more_cells_of_the_same_image(folders, kind):
    fine = opened(folders, kind, 4)
    framing = fine.framing(WIDE)
    assert framing.extent == WIDE and framing.size == (28, 60) and framing.origin == (2.0, 2.0)
    assert fine(pixels(framing.size)).shape[2:] == (6, 14)
    assert fine.size_for((90, 160)) == (40, 72)
    assert_refused(lambda: fine.framing((24, 54)), '--size 24 54', 'multiples of the stride 4', '24 56')
    assert_refused(lambda: opened(folders, kind, 9), '--stride 9', '8 pixels')


def blob_center(model: FeatureModel, center: tuple[float, float], image: tuple[int, int], size) -> tuple[float, float]:
    """Where a bright square around ``center`` changes the features, as shares of the height and width."""
    random = np.random.default_rng(3)
    dark = random.integers(60, 120, (*image, 3)).astype(np.uint8)
    bright = dark.copy()
    half = image[0] // 10
    row, column = round(center[0] * image[0]), round(center[1] * image[1])
    bright[row - half : row + half, column - half : column + half] = 255
    framing = model.framing(size)
    first, second = (model(torch.from_numpy(place(one, framing, model.resample))[None])[0] for one in (dark, bright))
    change = (second - first).square().sum(0)
    change = torch.where(change > 0.1 * change.max(), change, 0)
    rows, columns = change.shape
    at = [
        (change.sum(1 - axis) * (torch.arange(n) + 0.5)).sum() / change.sum() / n
        for axis, n in ((0, rows), (1, columns))
    ]
    return at[0].item(), at[1].item()


@pytest.mark.parametrize('stride', [8, 4, 5])
@pytest.mark.parametrize('kind', KINDS)
def test_a_bright_square_lies_in_the_map_where_it_lies_in_the_image(even, kind, stride):
    """To a third of a patch, finer to a seventh, in an image of 16:9 whose map has another shape.

    A patch that a square covers by half can look as bright as one that it covers: features saturate.
    """
    model = opened(even, kind, stride)
    size = (80, 160)
    for center in ((0.25, 0.7), (0.72, 0.31), (0.5, 0.11)):
        found = blob_center(model, center, (180, 320), size)
        off = [(there - here) * side / 8 for there, here, side in zip(found, center, size, strict=True)]
        assert max(map(abs, off)) < (1 / 3 if stride == 8 else 1 / 7), off


@pytest.mark.parametrize(('last', 'size'), [(False, (80, 160)), (True, (48, 112)), (False, None)])
def test_onnx_maps_lie_where_the_image_lies(tmp_path, last, size):
    path = pooling_onnx(tmp_path / 'pool.onnx', None if size else (64, 96), last)
    model = open_features('onnx', path, device='cpu', normalization=named_normalization('unit'))
    size = size or model.size_for((180, 320))
    for center in ((0.25, 0.7), (0.72, 0.31)):
        found = blob_center(model, center, (180, 320), size)
        off = [(there - here) * side / 8 for there, here, side in zip(found, center, size, strict=True)]
        assert max(map(abs, off)) < 1 / 4, off


def test_xfeat_lies_where_the_image_lies(shared_dir):
    path = shared_dir / 'models/xfeat/xfeat.onnx'
    model = open_features('onnx', path, device='cpu', normalization=named_normalization('byte'))
    assert model.size_for((540, 960)) == (640, 640)
    random = np.random.default_rng(0)
    image = np.repeat(np.repeat(random.integers(60, 180, (36, 64, 3)), 15, 0), 15, 1).astype(np.uint8)
    framing = model.framing((640, 640))
    first = model(torch.from_numpy(place(image, framing, model.resample))[None])[0]
    offsets = []
    for row, column in ((135, 243), (333, 700), (401, 480), (200, 611)):
        changed = image.copy()
        changed[row - 3 : row + 3, column - 3 : column + 3] ^= 31
        second = model(torch.from_numpy(place(changed, framing, model.resample))[None])[0]
        change = (second - first).square().sum(0)
        change = torch.where(change > 0.3 * change.max(), change, 0)
        steps = torch.arange(80) + 0.5
        offsets.append(
            [
                (change.sum(1) @ steps) / change.sum() - row / 540 * 80,
                (change.sum(0) @ steps) / change.sum() - column / 960 * 80,
            ]
        )
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.5


def test_positions_of_a_square_stay(folders):
    positions = torch.rand(25, 6)
    assert resized_positions(positions, (5, 5)) is positions
    assert resized_positions(positions, (3, 7)).shape == (21, 6)
    even = torch.ones(25, 6)
    assert torch.allclose(resized_positions(even, (9, 4), 'bilinear', antialias=True), torch.ones(36, 6))


def test_models_of_another_kind_are_refused(folders, tmp_path):
    assert_refused(
        lambda: open_features('clip', folders['clip_text'], device='cpu'), 'without a vision tower', 'not CLIP'
    )
    assert_refused(lambda: open_features('clip', folders['clip_vision'], device='cpu'), 'visual_projection.weight')
    assert_refused(lambda: open_features('clip', folders['dino'], device='cpu'), 'kind dinov2, not CLIP')
    assert_refused(lambda: open_features('dino', folders['siglip'], device='cpu'), 'kind siglip, not DINOv2')
    assert_refused(lambda: open_features('dino', folders['dino'], device='nonsense'), '--device nonsense')
    headless = write_model(tmp_path / 'headless', 'siglip', vision_use_head=False)
    assert_refused(lambda: open_features('siglip', headless, device='cpu'), 'no pooling head')
