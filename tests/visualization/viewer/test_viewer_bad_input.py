"""Whatever is wrong with what the viewer is given: one line, exit code 2, and nothing is served."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.custom_rig.folder import write_folder
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.engine.view import CustomRig, SavedScene, open_source
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.visualization.panel_layout import to_uint8
from tests.helpers.commands import run
from tests.helpers.refusals import assert_refused
from tests.helpers.scenes import street


def refused(*arguments: object) -> str:
    result = run('viewer', *arguments)
    line = assert_refused(result)
    assert all(before.startswith('warning: ') for before in result.err.splitlines()[:-1])
    assert 'viewer:' not in result.out
    return line


def test_nothing_to_look_at():
    assert '--scene' in refused()


def test_config_is_missing():
    assert 'nowhere.py: no such file' in refused('nowhere.py', 'None')


def test_checkpoint_is_missing_or_broken(project, tmp_path):
    assert 'nowhere.pth: no such file' in refused(project.config, 'nowhere.pth')
    broken = tmp_path / 'broken.pth'
    broken.write_bytes(b'no checkpoint')
    assert 'broken.pth: not a readable checkpoint' in refused(project.config, broken)


@pytest.mark.parametrize('number', [-1, 3])
def test_no_such_sample(project, number):
    assert f'sample {number}: the test data has samples 0 to 2' in refused(project.config, 'None', '--sample', number)


def test_scene_is_missing_or_broken(tmp_path):
    assert 'nowhere.scene: no such file' in refused('--scene', 'nowhere.scene')
    broken = tmp_path / 'broken.scene'
    broken.write_bytes(b'no scene')
    assert 'broken.scene: not a readable scene' in refused('--scene', broken)


def test_a_saved_scene_is_one_sample(tmp_path):
    path = tmp_path / 'street.scene'
    street().save(path)
    assert '--sample would do nothing' in refused('--scene', path, '--sample', 1)


def test_the_port_is_taken(project):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f'127.0.0.1:{port}: cannot listen there' in refused(project.config, 'None', '--port', port)


@pytest.mark.parametrize('where', [('--port', '70000'), ('--host', 'no.such.host.invalid'), ('--host', '203.0.113.1')])
def test_nobody_can_listen_there(project, where):
    assert 'cannot listen there' in refused(project.config, 'None', *where)


def test_no_such_device(project):
    assert "device 'gpu': cannot be used" in refused(project.config, 'None', '--device', 'gpu')


def test_own_images_are_missing_or_too_much(project, tmp_path):
    assert 'nowhere: no such folder' in refused(project.config, 'None', '--data', 'nowhere')
    assert '--scene or --data' in refused(project.config, 'None', '--data', tmp_path, '--scene', 'a.pt')
    assert '--undistort is for own images' in refused(project.config, 'None', '--undistort')


def test_no_such_trajectory(project):
    assert 'nowhere.json: no such file' in refused(project.config, 'None', '--trajectory', 'nowhere.json')


def test_own_images_are_looked_at_with_their_cameras(project, tmp_path):
    dataset = build_dataset(load_config(project.config), 'test')
    views = dataset[0]['inputs']['input_views']
    folder = write_folder(views, tmp_path / 'street')
    source, _ = open_source(project.config, None, data=folder)
    assert isinstance(source, CustomRig) and len(source) == 1
    viewed = source.load(0)
    assert (viewed.title, viewed.names) == ('street', ('LEFT', 'FRONT'))
    torch.testing.assert_close(viewed.cameras.cam2world[1], views.cameras.cam2world[views.names.index('FRONT')])
    assert abs(viewed.images[1].astype(int) - to_uint8(views.images)[views.names.index('FRONT')]).max() <= 1
    np.testing.assert_allclose(viewed.front.position, views.cameras.cam2world[views.names.index('FRONT'), :3, 3])


def test_a_saved_scene_comes_with_a_ring_of_cameras_and_no_images(tmp_path):
    path = tmp_path / 'street.scene'
    street().save(path)
    source, text_encoder = open_source(None, None, scene=path)
    assert isinstance(source, SavedScene) and len(source) == 1 and text_encoder is None
    viewed = source.load(0)
    assert viewed.title == 'street' and viewed.images is None
    assert torch.equal(viewed.scene.fine, Scene.load(path).fine)
    forward = viewed.cameras.cam2world[:, :3, 2]
    torch.testing.assert_close(forward[0], torch.tensor([0.0, 1, 0]))
    # Clockwise: the next one looks to the front right.
    assert forward[1, 0] > 0.8 and forward[1, 1] > 0.4
    assert not forward[:, 2].any()
