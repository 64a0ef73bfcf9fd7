"""The frozen depth network from a folder of the hub: the numbers of transformers, under our names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from projects.DistillNeRF.models.depth_folder import published_names, read_depth_folder
from projects.DistillNeRF.models.frozen_depth import FrozenDepth, read_depth_anything, weights_fingerprint
from projects.DistillNeRF.modules import depth_anything
from projects.DistillNeRF.modules.depth_anything import DepthAnything, DPTHead, load_depth_anything
from projects.DistillNeRF.modules.vision_transformer import VisionTransformer
from tests.helpers.arrays import randomized
from tests.helpers.data import frozen_extractor_entries
from tests.helpers.refusals import assert_refused
from tests.helpers.tiny_depth_models import CHANNELS, SHORTER_SIDE, V1, V2, save_tiny_depth_model, tiny_depth_model


@pytest.fixture(scope='module')
def saved(tmp_path_factory) -> dict[tuple[int, ...], Path]:
    """Folders of a model of each version, with the same weights; tests must not change them."""
    root = tmp_path_factory.mktemp('hub')
    return {stages: save_tiny_depth_model(root / str(number), stages) for number, stages in enumerate((V1, V2), 1)}


@pytest.fixture
def folder(saved, tmp_path: Path) -> Path:
    """A folder that may be changed."""
    return Path(shutil.copytree(saved[V1], tmp_path / 'model'))


@pytest.fixture
def small_inputs(monkeypatch) -> None:
    """Images are enlarged to a few patches, not to 518 pixels."""
    monkeypatch.setattr(depth_anything, 'SHORTER_SIDE', SHORTER_SIDE)


def image(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def features_there(model: DepthAnythingForDepthEstimation, pixels: Tensor) -> Tensor:
    """The map that transformers' last layers turn into depth."""
    tokens = model.backbone(pixels).feature_maps
    rows, columns = (side // 14 for side in pixels.shape[-2:])
    return model.neck(tokens, rows, columns)[-1]


@pytest.mark.parametrize('stages', [V1, V2], ids=['v1', 'v2'])
@torch.no_grad()
def test_numbers_are_those_of_transformers(saved, stages):
    """On square images: for others, transformers samples the grid of positions elsewhere."""
    model, ours = tiny_depth_model(stages), read_depth_anything(saved[stages])
    assert ours.channels == CHANNELS and not any(parameter.requires_grad for parameter in ours.parameters())
    pixels = DepthAnything.preprocess(image(64, 64))
    expected = features_there(model, pixels)
    feature = ours.depth_head(ours.pretrained(pixels), 37, 37)
    assert feature.shape == (1, CHANNELS, 296, 296)
    torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    depth = ours.depth_head.depth(feature, 37, 37)[:, 0]
    torch.testing.assert_close(depth, model(pixels).predicted_depth, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_the_versions_differ_by_the_blocks_that_are_read(saved, small_inputs):
    first, second = (read_depth_anything(saved[stages]) for stages in (V1, V2))
    assert (first.pretrained.outputs, second.pretrained.outputs) == ((1, 2, 3, 4), (0, 1, 3, 4))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.allclose(first(image(20, 30)), second(image(20, 30)), rtol=0.01)


def write_as_transformers_has_it(network: DepthAnything, folder: Path) -> None:
    """Copy our weights into the layers of a model of transformers, one after the other, and save it."""
    model = tiny_depth_model()
    with torch.no_grad():
        source, target = network.pretrained, model.backbone
        embeddings = target.embeddings
        pairs = [
            (embeddings.cls_token, source.cls_token),
            (embeddings.mask_token, source.mask_token),
            (embeddings.position_embeddings, source.pos_embed),
        ]
        layers = [(embeddings.patch_embeddings.projection, source.patch_embed.proj), (target.layernorm, source.norm)]
        for there, block in zip(target.encoder.layer, source.blocks, strict=True):
            attention = there.attention
            for number, part in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
                rows = slice(24 * number, 24 * (number + 1))
                pairs += [(part.weight, block.attn.qkv.weight[rows]), (part.bias, block.attn.qkv.bias[rows])]
            pairs += [(there.layer_scale1.lambda1, block.ls1.gamma), (there.layer_scale2.lambda1, block.ls2.gamma)]
            layers += [(attention.o_proj, block.attn.proj), (there.norm1, block.norm1), (there.norm2, block.norm2)]
            layers += [(there.mlp.fc1, block.mlp.fc1), (there.mlp.fc2, block.mlp.fc2)]
        head, scratch = network.depth_head, network.depth_head.scratch
        for number, layer in enumerate(model.neck.reassemble_stage.layers):
            layers += [(layer.projection, head.projects[number]), (layer.resize, head.resize_layers[number])]
            layers.append((model.neck.convs[number], getattr(scratch, f'layer{number + 1}_rn')))
        for number, there in zip((4, 3, 2, 1), model.neck.fusion_stage.layers, strict=True):
            fusion = getattr(scratch, f'refinenet{number}')
            layers.append((there.projection, fusion.out_conv))
            for unit in (1, 2):
                residual, ours = getattr(there, f'residual_layer{unit}'), getattr(fusion, f'resConfUnit{unit}')
                layers += [(residual.convolution1, ours.conv1), (residual.convolution2, ours.conv2)]
        layers += [(model.head.conv1, scratch.output_conv1), (model.head.conv2, scratch.output_conv2[0])]
        layers.append((model.head.conv3, scratch.output_conv2[2]))
        pairs += [
            (getattr(there, name), value)
            for there, ours in layers
            for name, value in ours.named_parameters(recurse=False)
        ]
        for there, ours in pairs:
            there.copy_(ours)
    model.save_pretrained(folder)


@torch.no_grad()
def test_features_are_those_of_the_published_file_bit_by_bit(small_inputs, tmp_path: Path):
    """Of a file of published names and of the folder that transformers has of it, on an image that is not square."""

    def network() -> DepthAnything:
        return DepthAnything(VisionTransformer(24, 5, 2), DPTHead(24, (4, 6, 8, 10), CHANNELS))

    published = randomized(network()).float()
    write_as_transformers_has_it(published, tmp_path)
    found = read_depth_anything(tmp_path)
    assert {name: value.shape for name, value in found.state_dict().items()} == {
        name: value.shape for name, value in published.state_dict().items()
    }
    for name, value in published.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    with torch.device('meta'):
        empty = network()
    expected = load_depth_anything(published.state_dict(), empty)(image(20, 33))
    assert torch.equal(FrozenDepth(tmp_path, CHANNELS)(image(20, 33)), expected)


def test_the_full_size_has_the_names_and_shapes_of_the_published_file():
    backbone = Dinov2Config(image_size=518, out_indices=[9, 10, 11, 12], reshape_hidden_states=False)
    sizes = {'reassemble_hidden_size': 768, 'neck_hidden_sizes': [96, 192, 384, 768], 'fusion_hidden_size': 128}
    with torch.device('meta'):
        model = DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=backbone, **sizes))
        found = published_names(model.state_dict())
    prefix = 'mono_depth_pretained_model.model.'
    expected = {name.rpartition(prefix)[2]: tuple(entry[0]) for name, entry in frozen_extractor_entries().items()}
    assert {name: tuple(value.shape) for name, value in found.items()} == expected


@torch.no_grad()
def test_other_ways_to_save_the_same_model(saved, folder: Path, tmp_path: Path):
    expected = read_depth_folder(saved[V1]).state_dict()
    shards = save_tiny_depth_model(tmp_path / 'shards', max_shard_size='50KB')
    assert len([*shards.glob('*.safetensors')]) > 2 and not (shards / 'model.safetensors').exists()
    # Names that transformers has in memory since version 5, and no token for masks.
    state = load_file(folder / 'model.safetensors')
    renamed = {
        re.sub(r'attention\.attention\.(.)\w+', r'attention.\1_proj', name).replace('output.dense', 'o_proj'): value
        for name, value in state.items()
        if 'mask_token' not in name
    }
    save_file(renamed, folder / 'model.safetensors')
    config = json.loads((folder / 'config.json').read_text())
    # The configuration may say less: what is as usual, and the blocks by their names.
    backbone = {key: config['backbone_config'][key] for key in ('model_type', 'out_features', 'num_attention_heads')}
    (folder / 'config.json').write_text(json.dumps({'model_type': 'depth_anything', 'backbone_config': backbone}))
    for other in (shards, folder):
        found = read_depth_folder(other)
        assert found.pretrained.outputs == (1, 2, 3, 4)
        for name, value in found.state_dict().items():
            if 'mask_token' not in name or other is shards:
                assert torch.equal(value, expected[name]), name


def change(folder: Path, section: str | None = None, **settings: object) -> None:
    """Change the configuration of a folder."""
    path = folder / 'config.json'
    config = json.loads(path.read_text())
    (config if section is None else config[section]).update(settings)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ('section', 'settings', 'words'),
    [
        (None, {'model_type': 'dpt'}, "is of a model 'dpt'"),
        (None, {'backbone_config': None}, 'its backbone is None'),
        (None, {'patch_size': 16}, 'patch_size is 16, and must be 14'),
        (None, {'reassemble_factors': [4, 2, 1, 1]}, 'reassemble_factors is [4, 2, 1, 1]'),
        ('backbone_config', {'model_type': 'dinov2_with_registers'}, "its backbone is 'dinov2_with_registers'"),
        ('backbone_config', {'patch_size': 16}, 'backbone_config.patch_size is 16'),
        ('backbone_config', {'use_swiglu_ffn': True}, 'use_swiglu_ffn is true'),
        ('backbone_config', {'out_indices': [1, 2, 3]}, 'out_indices is [1, 2, 3]'),
        ('backbone_config', {'out_indices': [3, 4, 5, 6]}, 'no four of 5 blocks'),
        ('backbone_config', {'out_indices': [4, 3, 2, 1]}, 'in rising order'),
        ('backbone_config', {'out_indices': None, 'out_features': None}, 'out_indices is []'),
        ('backbone_config', {'num_attention_heads': 7}, '7 attention heads do not fit'),
    ],
)
def test_settings_of_another_network_are_refused(folder: Path, section, settings, words):
    change(folder, section, **settings)
    assert_refused(lambda: read_depth_anything(folder), words, start=folder)


def test_files_that_are_missing_or_damaged_are_named(folder: Path, saved, tmp_path: Path):
    def refused(*words: object, start: object = folder) -> None:
        assert_refused(lambda: read_depth_anything(folder), *words, start=start)

    weights = folder / 'model.safetensors'
    content = weights.read_bytes()
    for damaged in (content[:1000], content[: len(content) // 2], b'{}'):
        weights.write_bytes(damaged)
        refused('not a readable safetensors file', 'copy it again', start=weights)
    weights.write_bytes(b'version https://git-lfs.github.com/spec/v1\noid sha256:00\n')
    refused('only the pointer of a file in git-lfs', start=weights)
    weights.unlink()
    refused('no such file', 'tools/get_weights.py', start=weights)
    state = load_file(saved[V1] / 'model.safetensors')
    save_file({name: value for name, value in state.items() if 'convs.2' not in name}, weights)
    refused('its weights are not those of its config.json', 'layer3_rn')
    save_file({**state, 'head.conv9.weight': torch.zeros(1)}, weights)
    refused('head.conv9.weight')
    save_file({'model.weight': torch.zeros(1)}, weights)
    refused('its weights are not those of its config.json', 'pos_embed')
    (folder / 'config.json').write_text('{')
    refused('not readable as JSON', start=folder / 'config.json')
    (folder / 'config.json').unlink()
    refused('no such file', start=folder / 'config.json')
    shards = save_tiny_depth_model(tmp_path / 'shards', max_shard_size='50KB')
    second = sorted(shards.glob('*.safetensors'))[1]
    second.unlink()
    assert_refused(lambda: read_depth_anything(shards), 'no such file', 'model.safetensors.index.json', start=second)
    (shards / 'model.safetensors.index.json').write_text('[]')
    assert_refused(lambda: read_depth_anything(shards), 'names no files of weights')


def test_weights_that_do_not_fit_the_network_or_its_version_are_refused(saved, tmp_path: Path):
    frozen = FrozenDepth(saved[V1], 128)
    words = ('features of 12 channels', 'built for 128', 'model.network.coarse.depth_channels=12')
    assert_refused(lambda: frozen(image(20, 30)), *words, start=saved[V1])
    second = tmp_path / 'depth_anything_v2_vitb.pth'
    assert_refused(lambda: read_depth_anything(second), 'do not say which blocks are read', 'depth-anything-v2-base')
    assert_refused(lambda: read_depth_anything(tmp_path / 'none'), 'no such file', 'get_weights.py depth-anything-v1')


def test_a_missing_package_is_named(saved, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'safetensors', None)
    assert_refused(lambda: read_depth_anything(saved[V1]), 'safetensors is needed', 'requirements/foundation.txt')


def test_a_fingerprint_is_that_of_all_that_is_read(folder: Path, saved, tmp_path: Path):
    first = weights_fingerprint(folder)
    assert weights_fingerprint(saved[V1]) == first != weights_fingerprint(saved[V2])
    (folder / 'README.md').write_text('not read')
    assert weights_fingerprint(folder) == first
    state = load_file(folder / 'model.safetensors')
    state['head.conv3.bias'] = state['head.conv3.bias'] + 1
    save_file(state, folder / 'model.safetensors')
    assert weights_fingerprint(folder) != first
    assert_refused(lambda: weights_fingerprint(tmp_path / 'none.pth'), 'no such file')
