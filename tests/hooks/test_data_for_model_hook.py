"""The options of the model that concern data and pictures work under mmengine's own runner."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.runner import BaseLoop, Runner

from projects.DistillNeRF.hooks.data_for_model_hook import DataForModelHook
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import CAMERAS, Project, mmengine_state
from tests.helpers.dataset import build_dataset


def plain_runner(project: Project, work_dir: Path, **options: Any) -> Runner:
    """As any user of mmengine makes it: nothing of this project's commands has seen the config."""
    config = Config.fromfile(str(project.config))
    config.merge_from_dict({'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2, 'work_dir': str(work_dir)})
    config.merge_from_dict({'custom_hooks': [], **options})
    return Runner.from_cfg(config)


def cameras(loop: BaseLoop) -> tuple[str, ...]:
    return loop.dataloader.dataset.cameras


def test_a_plain_runner_trains_on_one_camera_and_draws_pictures(project, tmp_path):
    with mmengine_state():
        runner = plain_runner(project, tmp_path, **{'model.num_camera': 1, 'model.visualize_imgs': True})
        runner.train()
    assert runner.iter == 2
    assert cameras(runner.train_loop) == cameras(runner.val_loop) == ('FRONT',)
    assert list(runner.train_loop.dataloader.dataset[0]['inputs']['input_views'].names) == ['FRONT']
    folder = tmp_path / 'visualization'
    assert {f'panel_00{number}.png' for number in range(3)} <= {path.name for path in folder.iterdir()}
    assert {path.name.partition('_')[0] for path in (folder / 'images_000').iterdir()} == {'FRONT'}


def test_a_plain_runner_evaluates_on_one_camera(project, tmp_path):
    with mmengine_state():
        runner = plain_runner(project, tmp_path, **{'model.num_camera': 1})
        runner.test()
    assert cameras(runner.test_loop) == ('FRONT',)


def test_a_plain_runner_uses_all_cameras_and_draws_nothing_by_itself(project, tmp_path):
    with mmengine_state():
        runner = plain_runner(project, tmp_path, **{'train_cfg.max_iters': 1})
        runner.train()
    assert cameras(runner.train_loop) == cameras(runner.val_loop) == CAMERAS
    assert not (tmp_path / 'visualization').exists()


def test_more_cameras_than_there_are_are_refused(project, tmp_path):
    with mmengine_state(), pytest.raises(InputError, match='num_camera is 3, but there are only 2 cameras'):
        plain_runner(project, tmp_path, **{'model.num_camera': 3}).train()


class Loop(BaseLoop):
    """A loop that holds data and is never run."""

    def run(self) -> None:
        pytest.fail('this loop is never run')


def test_boxes_are_loaded_to_train_a_detection_head_and_nowhere_else(project):
    training, validation = (build_dataset(project.root) for _ in range(2))
    loops = [Loop(None, SimpleNamespace(dataset=dataset)) for dataset in (training, validation)]
    runner = SimpleNamespace(
        model=SimpleNamespace(num_camera=None, detection=object()),
        _train_loop=loops[0],
        _val_loop=loops[1],
        _test_loop={'type': 'TestLoop'},
    )
    DataForModelHook().before_run(runner)
    assert 'boxes' in training.get_data_info(0) and 'boxes' not in validation.get_data_info(0)


def test_the_past_is_loaded_for_a_network_that_looks_at_it(project):
    training, validation = (build_dataset(project.root) for _ in range(2))
    loops = [Loop(None, SimpleNamespace(dataset=dataset)) for dataset in (training, validation)]
    model = SimpleNamespace(num_camera=None, network=SimpleNamespace(num_past=1))
    runner = SimpleNamespace(model=model, _train_loop=loops[0], _val_loop=loops[1], _test_loop={'type': 'TestLoop'})
    DataForModelHook().before_run(runner)
    for dataset in (training, validation):
        assert [len(dataset.get_data_info(index)['past_views']) for index in (0, 1)] == [0, 6]
