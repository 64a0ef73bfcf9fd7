"""One past glance by a setting of a config: trained on a small town, and what is said where there is none."""

from __future__ import annotations

import math
import re

import pytest
import torch

from projects.DistillNeRF.apis import init_model, reconstruct
from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.custom_rig import write_folder
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.engine.infer import tell_of_no_past
from projects.DistillNeRF.engine.protocols import about_protocol
from projects.DistillNeRF.evaluation.protocols import protocol_named
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers import dataset as boxes
from tests.helpers.commands import run, write_town_config

PAST = {'model.network.num_past': 1}
COLORS = {'model.network.source_blend.past': True}


def options(settings: dict) -> list[str]:
    return ['--cfg-options', *(f'{key}={value}' for key, value in settings.items())]


def test_a_network_with_a_past_trains_is_tested_and_reconstructs(town, tmp_path):
    config = write_town_config(tmp_path / 'config.py', town, steps=3)
    settings = {**PAST, **COLORS, 'train_dataloader.dataset.training_target_smart_sample': True}
    trained = run('train', config, '--work-dir', tmp_path / 'work', *options(settings))
    assert trained.code == 0, trained.err
    checkpoint = tmp_path / 'work/iter_3.pth'
    weights = torch.load(checkpoint, weights_only=False)['state_dict']
    learned = weights['network.agreement.log_temperature'].item()
    assert abs(learned - math.log(0.03)) > 1e-6 and 'network.blend.past_scale' in weights
    # The configuration that a run leaves behind says it in all places. A variable of its base is in the way.
    left = tmp_path / 'work/config.py'
    left.write_text(re.sub(r'^max_iters = .*\n', '', left.read_text(), flags=re.MULTILINE))
    loaded = load_config(left)
    assert loaded.val_dataloader.dataset.num_past == loaded.model.network.num_past == 1
    network, data = init_model(loaded, str(checkpoint)), build_dataset(loaded, 'test')
    scenes = []
    for index in range(2):
        views = data[index]['inputs']['input_views']
        assert (views.past is None) is (index == 0)
        scenes.append(reconstruct(network, views))
    assert [len(scene.sources.images) for scene in scenes] == [2, 4]
    result = run('test', config, checkpoint, '--eval', 'psnr', '--work-dir', tmp_path / 'test', *options(PAST | COLORS))
    assert result.code == 0 and 'psnr' in result.out, result.err


def test_the_setting_reaches_all_data_and_contradictions_are_refused(project, tmp_path):
    splits = [f'{split}_dataloader' for split in ('train', 'val', 'test')]
    assert [load_config(project.config, PAST)[split].dataset.num_past for split in splits] == [1, 1, 1]
    assert all('num_past' not in load_config(project.config)[split].dataset for split in splits)
    for settings, message in (
        (COLORS, 'takes colors of the past, but there is none; set model.network.num_past=1'),
        ({'model.network.past_gradient': True}, 'does nothing without model.network.num_past=1'),
        ({'model.network.plane_sweep.count': 2, 'model.num_camera': 1}, 'one camera and no past'),
        ({'train_dataloader.dataset.num_past': 1}, r'num_past=0 is for all datasets, but train.*num_past is 1'),
        ({**PAST, 'val_dataloader.dataset.num_past': 0}, r'num_past=1 is for all datasets, but val.*num_past is 0'),
    ):
        with pytest.raises(InputError, match=message):
            load_config(project.config, settings)
    pipeline = [*load_config(project.config).train_dataloader.dataset.pipeline, {'type': 'DropPast'}]
    dropping = {'train_dataloader.dataset.pipeline': pipeline}
    with pytest.raises(InputError, match=r'DropPast in train_dataloader.dataset.pipeline does nothing, as no past'):
        load_config(project.config, dropping)
    with pytest.raises(InputError, match=r'DropPast in val_dataloader.dataset.pipeline leaves the past out'):
        load_config(project.config, {**PAST, 'val_dataloader.dataset.pipeline': pipeline})
    assert load_config(project.config, {**PAST, **dropping}).train_dataloader.dataset.pipeline[-1].type == 'DropPast'
    own = tmp_path / 'own.py'
    own.write_text(f'_base_ = [{str(project.config)!r}]\nmodel = dict(network=dict(num_past=1))\n')
    off = load_config(own, {'model.network.num_past': 0})
    assert build_dataset(off, 'test').num_past == 0


def test_a_folder_of_one_instant_does_without_and_that_is_said(project, tmp_path):
    views = boxes.build_dataset(project.root, image_size=(32, 64), render_size=(16, 32))[1]['inputs']['input_views']
    folder = write_folder(views[[1]], tmp_path / 'one')
    arguments = (folder, project.config, 'None', '--out', tmp_path / 'out', '--trajectory', 'translation')
    result = run('infer', *arguments, *options(PAST))
    assert result.code == 0 and (tmp_path / 'out/scene.pt').is_file()
    assert 'the network knows a past, too (num_past=1): it does without' in result.err


def test_a_network_without_a_past_says_nothing_of_it(project, tmp_path, caplog):
    tell_of_no_past(init_model(load_config(project.config)), tmp_path)
    assert not caplog.text
    tell_of_no_past(init_model(load_config(project.config, PAST)), tmp_path)
    assert f'{tmp_path}: images of one instant' in caplog.text


def test_a_protocol_tells_that_a_network_saw_the_past(project):
    for count, said in ((0, False), (1, True)):
        data = boxes.build_dataset(
            project.root,
            image_size=(32, 64),
            render_size=(16, 32),
            test_mode=True,
            protocol='drivingforward_mf',
            num_past=count,
        )
        found = about_protocol(protocol_named('drivingforward_mf'), data)['deviations']
        assert ('inputs: the images of the keyframe before, too (num_past)' in found) is said
        assert any(text.startswith('one glance and its past: ') for text in found) is said
