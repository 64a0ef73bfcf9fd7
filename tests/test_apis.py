"""The model from Python: built from a config, given weights, asked for a scene."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.apis import init_model, load_weights, reconstruct
from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.cells import colors_seen, occupied_cells
from projects.DistillNeRF.models.checkpoint import read_checkpoint
from projects.DistillNeRF.utils.errors import InputError


@pytest.fixture(scope='module')
def views(project) -> Views:
    """The input views of the first test sample."""
    return build_dataset(load_config(project.config), 'test')[0]['inputs']['input_views']


def test_the_model_has_the_weights_of_the_checkpoint(project, trained):
    path = trained / 'iter_3.pth'
    model = init_model(project.config, path)
    assert not model.training
    saved = read_checkpoint(path)['state_dict']
    assert {f'network.{name}' for name in model.state_dict()} == set(saved)
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved[f'network.{name}'])


def test_a_loaded_config_and_one_of_the_model_alone_do_as_well(project, trained, tmp_path):
    config = load_config(project.config)
    alone = tmp_path / 'alone.py'
    alone.write_text(f'model = {config.model.to_dict()!r}')
    for source in (config, str(alone)):
        assert len(init_model(source, trained / 'iter_3.pth').state_dict())


@pytest.mark.parametrize(
    ('text', 'word'),
    [('x = 1', 'has no model'), ('model = dict()', 'network'), ('model = dict(network=dict(levls=3))', 'levls')],
)
def test_configs_that_make_no_network(tmp_path, text, word):
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(InputError, match=word) as error:
        init_model(path)
    assert str(error.value).startswith(f'{path}: ')
    assert '\n' not in str(error.value)


def test_a_refused_checkpoint_leaves_the_weights_alone(project, trained, tmp_path):
    model = init_model(project.config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = read_checkpoint(trained / 'iter_3.pth')
    name = list(state['state_dict'])[-1]
    state['state_dict'][name] = state['state_dict'][name][None]
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(InputError, match=name.removeprefix('network.')) as error:
        load_weights(model, tmp_path / 'other.pth')
    assert str(tmp_path / 'other.pth') in str(error.value)
    assert '\n' not in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_camera_is_enough(project, trained, views):
    model = init_model(project.config, trained / 'iter_3.pth')
    scene = reconstruct(model, views[:1])
    assert not scene.fine.requires_grad
    with torch.no_grad():
        rendering = scene.render(views.cameras)
    assert rendering.rgb.shape == views.images.shape
    assert rendering.rgb.isfinite().all()
    assert scene.grid.num_fine < reconstruct(model, views).grid.num_fine


def test_a_scene_answers_at_points(project, trained, views):
    scene = reconstruct(init_model(project.config, trained / 'iter_3.pth'), views)
    grid = scene.grid
    size = 2**grid.fine_level
    centers = (torch.cartesian_prod(*[torch.arange(size)] * 3) + 0.5) / size * 2 - 1
    density, known = scene.query(scene.space.expand(centers))
    # Known are the coarse cells that are occupied, with all fine cells in them.
    assert known.sum() == grid.num_coarse * 8 ** (grid.fine_level - grid.coarse_level)
    assert 0 < known.sum() < size**3
    assert ((density >= 0) & density.isfinite()).all()
    # Empty space has one density.
    assert density[~known].unique().numel() == 1
    assert density[known].unique().numel() > 1


def test_the_scene_is_in_double_precision_where_the_model_is(project, views):
    scene = reconstruct(init_model(project.config).double(), views)
    assert scene.fine.dtype == torch.float64


def test_a_scene_as_a_point_cloud(project, trained, views, tmp_path):
    """Points where the cells are, in the rendered colors; no more than torch and numpy is needed until then."""
    scene = reconstruct(init_model(project.config, trained / 'iter_3.pth'), views)
    path = tmp_path / 'new' / 'scene.ply'
    scene.to_ply(path, views.cameras, min_density=0.01)
    cells = occupied_cells(scene, 'fine', 0.01)
    header, _, content = path.read_bytes().partition(b'end_header\n')
    assert f'element vertex {len(cells)}\n'.encode() in header
    vertices = np.frombuffer(content, np.dtype([('position', '<f4', 3), ('color', 'u1', 3)]))
    assert np.array_equal(vertices['position'], cells.centers.numpy())
    with torch.no_grad():
        rendering = scene.render(views.cameras)
        rgb, seen = colors_seen(cells, views.cameras, rendering.rgb, rendering.depth)
    assert seen.any()
    assert np.array_equal(vertices['color'][seen.numpy()], (rgb[seen] * 255).round().byte().numpy())
    scene.to_ply(path, views.cameras, 'coarse', min_density=0.01, boxes=True)
    assert b'element face' in path.read_bytes()[:300]
    with pytest.raises(ValueError, match='choose one of'):
        scene.to_ply(path, views.cameras, 'medium')


WRONG_VIEWS = {
    'normalized': (lambda v: {'images': (v.images - 0.45) / 0.22}, r'colors are in \[0, 1\]'),
    'in 0 to 2': (lambda v: {'images': v.images * 2}, 'images / 255'),
    'NaN in one pixel': (lambda v: {'images': v.images.index_fill(3, torch.tensor([7]), math.nan)}, 'holds NaN'),
    'normalized intrinsics': (
        lambda v: {'cameras': changed(v.cameras, intrinsics=v.cameras.intrinsics / torch.tensor([[32.0], [16], [1]]))},
        r'cameras\.intrinsics has an implausible focal length .*Cameras\.resized',
    ),
    'poses that scale': (lambda v: {'cameras': changed(v.cameras, cam2world=v.cameras.cam2world * 2)}, 'cam2world'),
}


def changed(cameras: Cameras, **changes: Tensor) -> Cameras:
    return dataclasses.replace(cameras, **changes)


@pytest.mark.parametrize('name', WRONG_VIEWS)
def test_views_that_were_made_wrong(project, views, name):
    change, word = WRONG_VIEWS[name]
    with pytest.raises(ValueError, match=word):
        reconstruct(init_model(project.config), dataclasses.replace(views, **change(views)))


def test_intrinsics_of_images_of_half_the_size_are_reported(project, views, capsys):
    model = init_model(project.config)
    reconstruct(model, views)
    assert capsys.readouterr().err == ''
    halves = views.cameras.intrinsics * torch.tensor([[0.5], [0.5], [1]])
    reconstruct(model, dataclasses.replace(views, cameras=changed(views.cameras, intrinsics=halves)))
    [line] = capsys.readouterr().err.splitlines()
    assert 'warning: 2 of 2 cameras have a principal point far from the middle' in line
    assert 'use Cameras.resized' in line


def test_a_device_that_is_none(project):
    with pytest.raises(InputError, match="device 'abacus': cannot be used"):
        init_model(project.config, device='abacus')


def test_a_precision_is_that_of_the_network_and_its_scenes(project, trained, views):
    renderings = {}
    for precision in ('fp32', 'bf16'):
        model = init_model(project.config, trained / 'iter_3.pth', precision=precision)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        scene = reconstruct(model, views)
        assert model.precision == scene.precision == precision
        renderings[precision] = scene.render(views.cameras)
        assert renderings[precision].rgb.dtype == torch.float32, 'numpy has no bfloat16'
    usual = reconstruct(init_model(project.config, trained / 'iter_3.pth'), views).render(views.cameras)
    assert torch.equal(usual.rgb, renderings['fp32'].rgb)
    difference = (usual.rgb - renderings['bf16'].rgb).abs().mean().item()
    assert 0 < difference < math.inf
    with pytest.raises(InputError, match='precision fp16: needs a GPU'):
        init_model(project.config, precision='fp16')
    with pytest.raises(InputError, match='precision half: no such precision'):
        init_model(project.config, precision='half')
