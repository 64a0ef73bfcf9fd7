"""A setting that does nothing is refused with the right one; one that several places need reaches all of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.configuration.keys import warn_of_unread
from projects.DistillNeRF.configuration.options import LOADERS
from projects.DistillNeRF.configuration.switches import keep_unused_parameters
from projects.DistillNeRF.engine.builders import prepare
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import ROOT, run
from tests.helpers.refusals import assert_refused

ENTRIES = ROOT / 'projects/DistillNeRF/configs/model_wrapper'
MINITOWN, PUBLISHED = ENTRIES / 'model_wrapper_minitown.py', ENTRIES / 'model_wrapper.py'


def own(folder: Path, text: str, base: Path = MINITOWN) -> Path:
    """A config of a user that inherits from one of ours."""
    path = folder / 'own.py'
    path.write_text(f'_base_ = [{str(base)!r}]\n{text}')
    return path


def data_roots(config: Config) -> list[str]:
    return [config[loader].dataset.data_root for loader in LOADERS]


# Keys that nothing reads.


@pytest.mark.parametrize(
    ('option', 'meant'),
    [
        # At the top.
        ('max_iters', 'did you mean train_cfg.max_iters?'),
        ('lr', 'did you mean optim_wrapper.optimizer.lr?'),
        ('batch_size', 'did you mean train_dataloader.batch_size'),
        ('val_interval', 'did you mean train_cfg.val_interval?'),
        ('num_camera', 'did you mean model.num_camera'),
        ('seed', 'give --seed'),
        ('resume_from', 'give --resume'),
        ('trian_cfg.max_iters', 'did you mean train_cfg?'),
        ('foo.bar', 'nothing reads foo'),
        ('optimizer.lr', 'did you mean optim_wrapper.optimizer?'),
        ('data.samples_per_gpu', 'did you mean train_dataloader'),
        ('runner.max_iters', 'did you mean train_cfg?'),
        # Deeper.
        ('train_cfg.max_itres', 'did you mean max_iters?'),
        ('train_cfg.lr', 'did you mean optim_wrapper.optimizer.lr?'),
        ('train_cfg.by_epoch', 'IterBasedTrainLoop, says what is counted: max_iters'),
        ('train_cfg.max_epochs', 'IterBasedTrainLoop, says what is counted: max_iters'),
        ('val_cfg.interval', "'interval' of val_cfg"),
        ('optim_wrapper.accumulative_count', 'did you mean accumulative_counts?'),
        ('optim_wrapper.optimizer.weight_deacy', 'did you mean weight_decay?'),
        ('optim_wrapper.clip_grad.maxnorm', 'did you mean max_norm?'),
        ('optim_wrapper.paramwise_cfg.custom_kys.x', 'did you mean custom_keys?'),
        ('param_scheduler.1.T_mx', 'did you mean T_max?'),
        ('train_dataloader.shuffle', 'did you mean train_dataloader.sampler.shuffle?'),
        ('train_dataloader.num_worker', 'did you mean num_workers?'),
        ('train_dataloader.sampler.shufle', 'did you mean shuffle?'),
        ('train_dataloader.dataset.data_prefix.image', 'did you mean img?'),
        ('test_dataloader.dataset.pipeline.1.with_class', 'did you mean with_classes?'),
        ('model.vizualize_imgs', 'did you mean visualize_imgs?'),
        ('model.network.fine.widht', 'did you mean width?'),
        ('model.network.head.num_layer', 'did you mean num_layers?'),
        ('model.losses.lipps', 'did you mean lpips?'),
        ('model.losses.rgb.weight', 'did you mean loss_weight?'),
        ('default_hooks.chekpoint.interval', 'did you mean checkpoint?'),
        ('default_hooks.checkpoint.intervall', 'did you mean interval?'),
        ('custom_hooks.2.intervl', 'did you mean interval?'),
        ('val_evaluator.0.clampp', 'did you mean clamp?'),
        ('visualizer.vis_backends.0.save_dirs', 'did you mean save_dir?'),
        ('log_processor.window', 'did you mean window_size?'),
        ('env_cfg.cudnn', 'known: cudnn_benchmark'),
        ('randomness.deterministc', 'did you mean deterministic?'),
        ('auto_scale_lr.enabled', 'did you mean enable?'),
    ],
)
def test_an_option_that_nothing_reads_is_refused_with_the_right_one(option, meant):
    with pytest.raises(InputError) as error:
        load_config(MINITOWN, {option: None})
    message = str(error.value)
    assert message.startswith(f'{MINITOWN}: nothing reads ')
    assert meant in message


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('max_iters = 10', ('nothing reads max_iters', 'did you mean train_cfg.max_iters?')),
        ('image_size = (32, 56)', ('nothing reads image_size', 'train_dataloader.dataset.image_size')),
        ('trian_cfg = dict(max_iters=10)', ('nothing reads trian_cfg', 'did you mean train_cfg?')),
        ('train_cfg = dict(max_itres=10)', ("'max_itres' of train_cfg", 'did you mean max_iters?')),
        ('model = dict(losses=dict(rgb=dict(wieght=1)))', ("'wieght' of model.losses.rgb",)),
        ('_dataset = dict(num_camera=1)', ('nothing reads _dataset',)),
        ('if True:\n    lr = 1', ('nothing reads lr', 'optim_wrapper.optimizer.lr')),
    ],
)
def test_an_own_config_with_a_key_that_nothing_reads_is_refused(tmp_path, text, words):
    path = own(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_config(path)
    assert str(error.value).startswith(f'{path}: ')
    for word in words:
        assert word in str(error.value)


def test_an_unread_option_is_refused_before_anything_is_written(project, tmp_path):
    result = run('train', project.config, '--work-dir', tmp_path / 'out', '--cfg-options', 'max_iters=2')
    assert_refused(result, project.config, 'did you mean train_cfg.max_iters?')
    assert not (tmp_path / 'out').exists()


def test_a_json_config_is_checked_like_any_other(tmp_path):
    path = tmp_path / 'own.json'
    path.write_text(f'{{"_base_": {str(MINITOWN)!r}, "max_iters": 10}}'.replace("'", '"'))
    with pytest.raises(InputError, match=r'own\.json: nothing reads max_iters; did you mean train_cfg\.max_iters\?'):
        load_config(path)


@pytest.mark.parametrize(
    'option', ['train_dataloader.dataset.load_teacher', 'model.visualize_imgs', 'default_hooks.checkpoint.save_last']
)
def test_a_word_for_a_switch_is_refused(option):
    """``no`` would count as True."""
    with pytest.raises(InputError, match=f"{option} is 'no'; give True or False"):
        load_config(MINITOWN, {option: 'no'})


@pytest.mark.parametrize(
    'text',
    [
        'length = 30\ntrain_cfg = dict(max_iters=length)',
        '_size = (28, 50)\n_dataset = dict(render_size=_size)\ntrain_dataloader = dict(dataset=_dataset)',
        'import os\nhome = os.sep\nwork_dir = home + "x"',
        'def twice(x):\n    return 2 * x\nmodel = dict(num_camera=twice(1))',
        'a, b = 1, 2\nmodel = dict(num_camera=a + b)',
        "custom_hooks = _base_.custom_hooks + [dict(type='EMAHook', momentum=0.1)]",
        'train_cfg = dict(max_iters={{_base_.max_iters}})',
        "load_from = '{{$NO_SUCH_VARIABLE:x.pth}}'",
        "work_dir = '{{ fileDirname }}/work'",
        'find_unused_parameters = True',
        "auto_scale_lr = dict(enable=False, base_batch_size=8)\nexperiment_name = 'x'",
        "randomness = dict(seed=3, deterministic=False)\nvisualizer = dict(name='x')",
        "optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'voxel_net': dict(lr_mult=0.1)}))",
        "default_hooks = dict(ema=dict(type='EMAHook', momentum=0.1), checkpoint=dict(save_last=False))",
        "train_dataloader = dict(pin_memory=True, num_batch_per_epoch=3, collate_fn=dict(type='pseudo_collate'))",
    ],
)
def test_valid_own_configs_are_accepted(tmp_path, text):
    assert load_config(own(tmp_path, text)).filename


def test_a_variable_that_the_next_config_reads_is_accepted(tmp_path):
    first = own(tmp_path, 'length = 30')
    with pytest.raises(InputError, match='nothing reads length'):
        load_config(first)
    second = tmp_path / 'second.py'
    second.write_text("_base_ = ['own.py']\ntrain_cfg = dict(max_iters=_base_.length)")
    assert load_config(second).train_cfg.max_iters == 30


# One option for all data.


def test_one_option_moves_all_data():
    assert data_roots(load_config(MINITOWN, {'data_root': '/new'})) == ['/new'] * 3
    moved = load_config(MINITOWN, {'data_root': '/new', 'test_dataloader.dataset.data_root': '/test'})
    assert data_roots(moved) == ['/new', '/new', '/test']
    everywhere = {f'{loader}.dataset.data_root': '/own' for loader in LOADERS}
    with pytest.raises(InputError, match='data_root=/new moves no data'):
        load_config(MINITOWN, {'data_root': '/new', **everywhere})


def test_data_root_of_an_own_config_moves_all_data_that_it_inherits(tmp_path):
    assert data_roots(load_config(own(tmp_path, "data_root = '/nowhere'"))) == ['/nowhere'] * 3
    text = "data_root = '/new'\ntrain_dataloader = dict(dataset=dict(data_root=data_root + '/train'))"
    assert data_roots(load_config(own(tmp_path, text))) == ['/new/train', '/new', '/new']
    (tmp_path / 'next.py').write_text("_base_ = ['own.py']\ntest_dataloader = dict(dataset=dict(data_root='/test'))")
    assert data_roots(load_config(tmp_path / 'next.py')) == ['/new/train', '/new', '/test']
    assert data_roots(load_config(tmp_path / 'next.py', {'data_root': '/all'})) == ['/all'] * 3


def test_data_root_reaches_datasets_within_wrappers(tmp_path):
    text = (
        "data_root = '/new'\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[\n"
        "    dict(type='DistillNeRFDataset', ann_file='a.pkl'), dict(type='DistillNeRFDataset', ann_file='b.pkl')]))"
    )
    config = load_config(own(tmp_path, text), {'model.num_camera': 2})
    parts = config.train_dataloader.dataset.datasets
    assert [(part.data_root, part.num_camera) for part in parts] == [('/new', 2)] * 2


def test_the_old_data_are_not_evaluated(project, tmp_path):
    result = run('test', own(tmp_path, "data_root = '/nowhere'", project.config), 'None', '--work-dir', tmp_path)
    assert_refused(result, '/nowhere/infos.pkl', 'no such file')


# The length of a training.


def test_a_new_number_of_iterations_stretches_what_follows_from_it():
    config = load_config(MINITOWN, {'train_cfg.max_iters': 3000})
    assert config.train_cfg.val_interval == 3000
    warm_up, cosine = config.param_scheduler
    assert (warm_up.begin, warm_up.end) == (0, 100)
    assert (cosine.begin, cosine.end, cosine.T_max) == (100, 3000, 2900)
    assert config.default_hooks.checkpoint.interval == 500


def test_schedules_and_intervals_fit_a_training_of_two_iterations():
    config = load_config(MINITOWN, {'train_cfg.max_iters': 2})
    assert config.train_cfg.val_interval == 2
    (cosine,) = config.param_scheduler
    assert (cosine.begin, cosine.end, cosine.T_max) == (0, 2, 2)
    assert load_config(MINITOWN, {'train_cfg.max_iters': 2.0}).param_scheduler[0].end == 2
    assert config.default_hooks.checkpoint.interval == config.default_hooks.logger.interval == 2


def test_a_new_number_of_epochs_stretches_the_milestones():
    config = load_config(PUBLISHED, {'train_cfg.max_epochs': 8})
    assert config.train_cfg.val_interval == 1
    assert config.param_scheduler[0].milestones == [3, 6]


def test_settings_that_are_given_beside_a_length_stay():
    options = {'train_cfg.max_iters': 400, 'train_cfg.val_interval': 1500, 'param_scheduler.1.end': 350}
    config = load_config(MINITOWN, options)
    assert config.train_cfg.val_interval == 1500
    assert (config.param_scheduler[0].end, config.param_scheduler[1].end) == (50, 350)
    options = {'train_cfg.max_iters': 150, 'param_scheduler.1.eta_min_ratio': 0.1}
    cosine = load_config(MINITOWN, options).param_scheduler[1]
    assert (cosine.begin, cosine.end, cosine.T_max, cosine.eta_min_ratio) == (5, 150, 145, 0.1)


def test_a_length_in_an_own_config_stretches_what_it_inherits(tmp_path):
    config = load_config(own(tmp_path, 'train_cfg = dict(max_iters=150)'))
    assert config.train_cfg.val_interval == config.param_scheduler[1].end == 150
    config = load_config(tmp_path / 'own.py', {'train_cfg.max_iters': 300})
    assert config.train_cfg.val_interval == config.param_scheduler[1].end == 300
    # The interval is that of the base, but it is said.
    config = load_config(own(tmp_path, 'train_cfg = dict(max_iters=3000, val_interval=1500)'))
    assert (config.train_cfg.val_interval, config.param_scheduler[1].end) == (1500, 3000)


def test_a_short_training_ends_its_schedule_and_is_validated(project, tmp_path):
    """With the schedule of the base config, for real."""
    text = (
        "param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=1500, T_max=1500)]\n"
        'train_cfg = dict(max_iters=1500, val_interval=1500)'
    )
    config, out = own(tmp_path, text, project.config), tmp_path / 'out'
    result = run('train', config, '--work-dir', out, '--cfg-options', 'train_cfg.max_iters=4', 'custom_hooks=[]')
    assert result.code == 0, result.err
    (log,) = out.glob('*/*.log')
    rates = [float(rate) for rate in re.findall(r'Iter\(train\).* lr: (\S+)', log.read_text())]
    assert rates == sorted(rates, reverse=True)
    # Half a cosine of four steps from 2e-3: (1 + cos(pi i / 4)) / 2.
    assert rates == pytest.approx([2e-3, 1.7071e-3, 1e-3, 2.929e-4], rel=1e-3)
    assert 'Iter(val) [3/3]' in result.out
    assert (out / 'iter_4.pth').is_file()


# Settings that another one beats.


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (('launcher=pytorch',), ('--launcher pytorch',)),
        (('data_preprocessor.type=ViewsPreprocessor',), ('model.data_preprocessor beats data_preprocessor',)),
        (('model.num_camera=1', 'train_dataloader.dataset.num_camera=2'), ('leave one of them',)),
        (('train_dataloader.dataset.add_next_frame_for_eval=True',), ('test_mode=False',)),
        (('train_dataloader.dataset.test_samples=second_of_scene',), ('test_mode=False',)),
        (('test_dataloader.dataset.training_target_smart_sample=True',), ('test_mode=True',)),
        (('val_cfg=None',), ('val_dataloader does nothing without val_cfg',)),
        (('optim_wrapper=None',), ('train_dataloader does nothing without optim_wrapper',)),
        (('val_dataloader=None', 'val_cfg=None', 'val_evaluator=None', 'val_before_train=True'), ('no val_cfg',)),
        (('val_before_train=no',), ("val_before_train is 'no'",)),
        (('ema=2.0',), ('ema is 2.0', 'between 0 and 1')),
        (('ema=yes',), ("ema is 'yes'",)),
        (('resume=iter_2.pth',), ('resume is', 'load_from')),
        (('model.voxel_colors=height', 'model.visualize_imgs=True'), ('model.visualize_voxels=True',)),
        (('train_dataloader.prefetch_factor=2',), ('needs worker processes', 'num_workers')),
        (('optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult=0.1',), ("'backbone'", 'voxel_net')),
        (('train_cfg.max_iters=0',), ('train_cfg.max_iters is 0',)),
        (('train_cfg.val_interval=0',), ('train_cfg.val_interval is 0', 'val_cfg=None')),
        (('default_hooks.checkpoint.save_best=pnsr',), ('did you mean psnr?',)),
        (('model.network.head.type=feature', 'model.network.head.width=None'), ('nothing reads', "'width'")),
        (('val_dataloader.dataset.load_features=True',), ('no LoadFeatures', 'before PackViews')),
        (('default_hooks.checkpoint.by_epoch=True',), ('counts epochs',)),
    ],
)
def test_settings_without_effect_are_refused(project, tmp_path, options, words):
    assert_refused(run('train', project.config, '--work-dir', tmp_path, '--cfg-options', *options), *words)


def test_schedules_in_another_unit_are_refused(project, tmp_path):
    path = own(tmp_path, "param_scheduler = [dict(type='MultiStepLR', milestones=[1, 2])]", project.config)
    result = run('train', path, '--work-dir', tmp_path / 'out')
    assert_refused(result, path, 'param_scheduler.0 (MultiStepLR) counts epochs', 'by_epoch=False')
    path = own(tmp_path, "param_scheduler = [dict(type='LinearLR', by_epoch=False, begin=5, end=3)]", project.config)
    assert_refused(run('train', path, '--work-dir', tmp_path / 'out'), path, 'cannot be built', 'end')


def test_epochs_that_never_end_are_refused(project, tmp_path):
    path = own(tmp_path, "train_cfg = dict(_delete_=True, type='ResumableEpochLoop', max_epochs=1)", project.config)
    assert_refused(run('train', path, '--work-dir', tmp_path / 'out'), 'InfiniteSampler', 'DefaultSampler')


def test_options_that_exclude_each_other_are_refused(project, tmp_path):
    for arguments, word in (
        (('--seed', 3, '--cfg-options', 'randomness.seed=2'), 'randomness.seed=2'),
        (('--resume', 'a.pth', '--cfg-options', 'load_from=b.pth'), 'load_from=b.pth'),
        (('--cfg-options', 'work_dir=elsewhere'), 'work_dir=elsewhere'),
        (('--amp', '--cfg-options', 'optim_wrapper.type=AmpOptimWrapper'), '--amp'),
    ):
        assert_refused(run('train', project.config, '--work-dir', tmp_path, *arguments), word, 'leave one of')


def test_the_work_dir_and_the_seed_of_a_config_count(project, tmp_path):
    text = f'work_dir = {str(tmp_path / "mine")!r}\nrandomness = dict(seed=7)\ncustom_hooks = []'
    result = run('train', own(tmp_path, text, project.config), '--cfg-options', 'train_cfg.max_iters=1')
    assert result.code == 0, result.err
    (log,) = (tmp_path / 'mine').glob('*/*.log')
    assert 'seed: 7\n' in log.read_text()


def test_a_seed_leaves_the_rest_of_the_randomness(project, tmp_path):
    config = load_config(project.config, {'randomness.deterministic': True, 'randomness.seed': 3})
    assert prepare(config, tmp_path, 7).randomness == {'deterministic': True, 'seed': 7}
    assert prepare(config, tmp_path).randomness == {'deterministic': True, 'seed': 3}


def test_options_that_a_command_does_not_read_are_a_warning(project, tmp_path, capsys):
    warn_of_unread({'model.network.channels': 4, 'model': 1, 'model.losses.rgb': None}, ('model.network',))
    assert capsys.readouterr().err == 'warning: model.losses.rgb: this command does not read that; leave it away\n'
    options = ('--cfg-options', 'load_from=x.pth', 'model.visualize_imgs=True', 'test_dataloader.batch_size=2')
    result = run('test', project.config, 'None', '--eval', 'depth', '--work-dir', tmp_path, *options)
    assert result.code == 0
    assert 'warning: load_from, model.visualize_imgs: this command does not read that' in result.err


def test_resume_in_a_config_is_resume_on_the_command_line(project, trained, tmp_path):
    work_dir = shutil.copytree(trained, tmp_path / 'work')
    path = own(tmp_path, 'resume = True\ntrain_cfg = dict(max_iters=4)\ncustom_hooks = []', project.config)
    result = run('train', path, '--work-dir', work_dir)
    assert result.code == 0, result.err
    assert [line for line in result.out.splitlines() if 'Iter(train) [' in line and '[4/4]' not in line] == []
    assert (work_dir / 'iter_4.pth').is_file()


def test_unused_parameters_are_found_where_the_wrapper_is_given():
    config = Config({'find_unused_parameters': True, 'model_wrapper_cfg': {'type': 'MMDistributedDataParallel'}})
    keep_unused_parameters(config)
    assert config.model_wrapper_cfg.find_unused_parameters


def test_every_group_of_cfg_options_counts(project, tmp_path):
    options = ('--cfg-options', 'train_cfg.max_itres=1', '--cfg-options', 'custom_hooks=[]')
    assert_refused(run('train', project.config, '--work-dir', tmp_path, *options), 'max_itres')


@pytest.mark.parametrize(
    ('tool', 'arguments', 'words'),
    [
        ('novel_view_synthesis', ('--samples', 2), ('--samples', 'without --truth')),
        ('novel_view_synthesis', ('--out', 'x.json'), ('--out', 'without --truth')),
        ('novel_view_synthesis', (3, '--truth'), ('--truth', 'index')),
        ('novel_view_synthesis', ('--truth', '--sample', 1), ('--truth', '--sample')),
        ('novel_view_synthesis', ('--truth', '--video', 'x.mp4'), ('--truth', '--video')),
        ('novel_view_synthesis', (3, '--video', 'x.mp4'), ('--video', 'index')),
        ('viewer', ('--scene', 'x.pt', '--sample', 1), ('--scene', '--sample')),
        ('viewer', ('--data', 'x', '--sample', 1), ('--data', '--sample')),
    ],
)
def test_options_of_tools_that_exclude_each_other_are_refused(project, tool, arguments, words):
    assert_refused(run(tool, project.config, 'None', *arguments), *words, 'do nothing')


def test_more_pictures_than_samples_are_a_warning(project, tmp_path):
    options = ('--cfg-options', 'model.visualize_imgs=True', f'model.vis_save_directory={tmp_path}')
    result = run('visualization', project.config, 'None', '--samples', 9, *options)
    assert result.code == 0
    assert '9 samples are asked for, but the test data has 3' in result.err


def test_other_options_of_tools_that_do_nothing_are_refused(project, tmp_path):
    assert_refused(run('viewer', project.config, 'x.pth', '--scene', 'x.pt'), 'checkpoint would do nothing')
    assert_refused(run('viewer', project.config), project.config, 'give a checkpoint', 'None for random weights')
    assert_refused(run('viewer', '--scene', 'x.pt', '--cfg-options', 'model.text_encoder=x'), 'without a config')
    assert_refused(run('benchmark', '--scaling', '--cameras', 2), '--scaling', '--cameras')
    infos = ('nuscenes', '--root-path', tmp_path, '--from-info', 'x.pkl', '--version', 'v1.0-mini')
    assert_refused(run('create_data', *infos), '--from-info', '--version')


# Evaluators.


FEATURES = """
model = dict(network=dict(head=dict(_delete_=True, type='feature')), losses=dict(rgb=None))
"""


def test_metrics_of_colors_are_refused_for_a_network_of_features(project, tmp_path):
    path = own(tmp_path, FEATURES, project.config)
    assert_refused(run('train', path, '--work-dir', tmp_path / 'out'), path, 'ImageMetric', "dict(type='DepthMetric')")
    result = run('test', path, 'None', '--eval', 'psnr', '--work-dir', tmp_path / 'out')
    assert_refused(result, path, 'no colors for --eval psnr', 'choose depth')
    result = run('test', path, 'None', '--work-dir', tmp_path / 'out')
    assert result.code == 0, result.err
    assert 'lidar/abs_rel' in result.out and 'psnr' not in result.out


def test_the_best_checkpoint_needs_its_metric(project, tmp_path):
    path = own(tmp_path, "val_evaluator = [dict(type='DepthMetric')]", project.config)
    assert_refused(run('train', path, '--work-dir', tmp_path / 'out'), 'save_best is psnr', 'choose from abs_rel')


def test_the_settings_of_the_test_evaluator_count(project, trained, tmp_path):
    arguments = (project.config, trained / 'iter_3.pth', '--eval', 'depth', '--work-dir', tmp_path)
    results = [
        run('test', *arguments, '--cfg-options', f'test_evaluator.1.published_quirks={quirks}').out
        for quirks in (False, True)
    ]
    rows = [next(line for line in text.splitlines() if line.startswith('lidar/abs_rel')) for text in results]
    assert rows[0] != rows[1]


# Loading without worker processes.


def test_options_of_workers_are_off_where_there_are_none(tmp_path):
    options = {f'{loader}.num_workers': 0 for loader in LOADERS}
    config = load_config(own(tmp_path, 'train_dataloader = dict(prefetch_factor=4)'), options)
    assert all(config[loader].persistent_workers is False for loader in LOADERS)
    assert config.train_dataloader.prefetch_factor is None
    assert load_config(MINITOWN).train_dataloader.persistent_workers


def test_training_and_evaluation_run_without_workers(project, tmp_path):
    path = own(tmp_path, ''.join(f'{loader} = dict(persistent_workers=True)\n' for loader in LOADERS), project.config)
    result = run('train', path, '--work-dir', tmp_path / 'out', '--cfg-options', 'train_cfg.max_iters=1')
    assert result.code == 0, result.err
    result = run('test', path, 'None', '--baselines', '--eval', 'psnr', '--work-dir', tmp_path / 'test')
    assert result.code == 0, result.err


def test_baselines_without_training_data_are_refused_before_the_evaluation(project, tmp_path):
    option = ('--cfg-options', f'train_dataloader.dataset.data_root={tmp_path}')
    result = run('test', project.config, 'None', '--baselines', '--work-dir', tmp_path / 'out', *option)
    assert_refused(result, tmp_path / 'infos.pkl', 'no such file')
    assert 'Iter(test)' not in result.out
