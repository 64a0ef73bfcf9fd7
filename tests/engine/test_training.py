"""Training goes on exactly, stands broken files, and does what its switches say."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from projects.DistillNeRF.engine.resuming import newest_checkpoint
from projects.DistillNeRF.engine.runner import ExactResumeHook
from projects.DistillNeRF.models.checkpoint import read_checkpoint
from tests.helpers.commands import ROOT, Project, Result, run
from tests.helpers.ranks import free_port
from tests.helpers.refusals import assert_refused

# Everything that draws random numbers: targets, flips, positions on rays.
RANDOM = (
    'train_dataloader.dataset.training_target_smart_sample=True',
    'model.network.jitter=True',
    'custom_hooks.2.interval=0',
    'train_cfg.val_interval=99',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=9',
)


def train(project: Project, work_dir: Path, *options: str, arguments: tuple = ()) -> Result:
    result = run('train', project.config, '--work-dir', work_dir, *arguments, '--cfg-options', *RANDOM, *options)
    assert result.code == 0, result.err
    return result


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('extra', [(), ('optim_wrapper.accumulative_counts=2', 'ema=True')])
def test_a_run_that_was_cut_and_resumed_gives_the_same_weights(project, tmp_path, workers, extra):
    options = ('train_cfg.max_iters=5', *extra)
    train(project, tmp_path / 'whole', *options, 'train_dataloader.num_workers=0')
    cut = tmp_path / 'cut'
    cut.mkdir()
    # As if the run had been cut after three steps.
    shutil.copy(tmp_path / 'whole/iter_3.pth', cut / 'iter_3.pth')
    # The random generators of this process are elsewhere by now.
    torch.manual_seed(99)
    random.seed(99)
    train(project, cut, *options, f'train_dataloader.num_workers={workers}', arguments=('--resume',))
    whole, resumed = (read_checkpoint(folder / 'iter_5.pth') for folder in (tmp_path / 'whole', cut))
    assert whole['state_dict'].keys() == resumed['state_dict'].keys()
    for name, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][name]), name
    third = read_checkpoint(cut / 'iter_3.pth')['state_dict']
    assert any(not torch.equal(value, third[name]) for name, value in whole['state_dict'].items())


def test_every_iteration_of_every_process_has_random_numbers_of_its_own():
    hook = ExactResumeHook()

    def drawn(**place: int) -> float:
        runner = SimpleNamespace(
            **{'seed': 3, 'iter': 0, 'rank': 0, 'world_size': 1} | place, model=torch.nn.Linear(1, 1)
        )
        hook.before_train_iter(runner, 0)
        return torch.rand(()).item()

    assert len({drawn(iter=i, rank=rank, world_size=2) for i in range(3) for rank in range(2)}) == 6
    # Two processes draw what one draws in twice as many iterations.
    assert drawn(iter=2, rank=1, world_size=2) == drawn(iter=5)


def test_a_run_by_epochs_goes_on_within_the_epoch(project, tmp_path):
    """Three samples an epoch in an order of their own; cut after the first sample of the second epoch."""
    options = (
        'train_cfg.type=ResumableEpochLoop',
        'train_cfg.max_epochs=2',
        'train_dataloader.sampler.type=DefaultSampler',
    )
    config = tmp_path / 'epochs.py'
    transforms = [{'type': name} for name in ('LoadViews', 'LoadLidarDepth', 'LoadTeacher', 'PackViews', 'FlipViews')]
    config.write_text(
        f'_base_ = [{str(project.config)!r}]\n'
        'train_cfg = dict(_delete_=True, val_interval=9)\n'
        f'train_dataloader = dict(dataset=dict(pipeline={transforms}))\n'
    )
    by_epochs = Project(project.root, config)
    rest = [option for option in RANDOM if 'val_interval' not in option]

    def start(work_dir: Path, *arguments: str) -> None:
        result = run('train', by_epochs.config, '--work-dir', work_dir, *arguments, '--cfg-options', *rest, *options)
        assert result.code == 0, result.err

    start(tmp_path / 'whole')
    cut = tmp_path / 'cut'
    cut.mkdir()
    shutil.copy(tmp_path / 'whole/iter_4.pth', cut / 'iter_4.pth')
    start(cut, '--resume')
    whole, resumed = (read_checkpoint(folder / 'iter_6.pth')['state_dict'] for folder in (tmp_path / 'whole', cut))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_the_checkpoint_before_a_damaged_one_is_taken(project, trained, tmp_path):
    work_dir = shutil.copytree(trained, tmp_path / 'work')
    newest = work_dir / 'iter_3.pth'
    newest.write_bytes(newest.read_bytes()[:1000])
    assert newest_checkpoint(work_dir) == str(work_dir / 'iter_2.pth')
    result = run('train', project.config, '--work-dir', work_dir, '--resume')
    assert result.code == 0
    assert f'warning: {newest}: not a readable checkpoint' in result.err
    assert read_checkpoint(newest)['meta']['iter'] == 3


def test_no_half_written_checkpoint_has_a_name_that_is_read(project, tmp_path, monkeypatch):
    class Full(OSError):
        """No space left on the device."""

    def half(checkpoint: object, path: str, *arguments: object, **options: object) -> None:
        Path(path).write_bytes(b'half')
        raise Full

    monkeypatch.setattr('mmengine.runner.runner.save_checkpoint', half)
    with pytest.raises(Full):
        run('train', project.config, '--work-dir', tmp_path)
    assert newest_checkpoint(tmp_path) is None
    assert not list(tmp_path.glob('iter_*'))


def test_a_config_may_call_the_sampler_of_batches_by_its_former_name(project, tmp_path):
    option = 'train_dataloader.batch_sampler.type=DrawBatchSampler'
    assert train(project, tmp_path, option, 'train_cfg.max_iters=1').code == 0


def test_mixed_precision_without_a_gpu_is_bfloat16(project, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    train(project, tmp_path / 'half', 'train_cfg.max_iters=2', arguments=('--amp',))
    train(project, tmp_path / 'full', 'train_cfg.max_iters=2')
    half, full = (read_checkpoint(tmp_path / name / 'iter_2.pth')['state_dict'] for name in ('half', 'full'))
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in half.values())
    assert any(not torch.equal(value, full[name]) for name, value in half.items()), 'nothing was different'


def test_one_option_is_enough_for_one_camera(project, tmp_path):
    result = train(project, tmp_path, 'model.num_camera=1', 'train_cfg.max_iters=1')
    assert 'psnr' in result.out


@pytest.mark.parametrize(
    ('options', 'losses'),
    [
        (('model.losses.dssim.type=DSSIMLoss',), ('loss_dssim',)),
        (
            ('model.losses.line_of_sight.type=LineOfSightLoss', 'model.losses.line_of_sight.start=0'),
            ('loss_line_of_sight_coarse', 'loss_line_of_sight'),
        ),
        (
            ('model.losses.lidar_depth_edges.type=DepthEdgeLoss', 'model.losses.lidar_depth_edges.distance=9'),
            ('loss_lidar_depth_edges',),
        ),
        (('model.det_head_3d.loss_weight=0.5',), ('loss_detection_task0_heatmap', 'loss_detection_task0_bbox')),
        (('model.losses.density.type=DensityLoss',), ('loss_density',)),
        (('model.losses.lpips.type=LPIPSLoss', 'model.losses.lpips.loss_weight=0'), ('loss_lpips',)),
    ],
)
def test_losses_can_be_switched_on(project, tmp_path, options, losses):
    train(project, tmp_path, 'train_cfg.max_iters=1', *options)
    (entry,) = (entry for entry in scalars(tmp_path) if 'loss' in entry)
    for name in losses:
        assert (entry[name] == 0) == (name == 'loss_lpips')


def test_the_log_has_memory_and_names_a_slow_loader(project, tmp_path):
    options = ('train_cfg.max_iters=2', 'custom_hooks.1.interval=1', 'custom_hooks.1.share=0.0')
    result = train(project, tmp_path, *options)
    text = result.out + result.err
    (log,) = tmp_path.glob('*/*.log')
    assert 'memory_mb: ' in log.read_text()
    assert 'the loader is the bottleneck' in text and 'num_workers (now 0)' in text
    assert 'bottleneck' not in train(project, tmp_path / 'quick', 'train_cfg.max_iters=2').out


def test_validation_runs_first_and_the_best_checkpoint_is_kept(project, tmp_path):
    options = ('val_before_train=True', 'train_cfg.max_iters=2', 'train_cfg.val_interval=1')
    result = train(project, tmp_path, *options)
    lines = result.out.splitlines()
    first_val = next(i for i, line in enumerate(lines) if 'Iter(val)' in line)
    assert first_val < next(i for i, line in enumerate(lines) if 'Iter(train)' in line)
    assert list(tmp_path.glob('best_psnr_iter_*.pth'))


def test_wandb_offline_writes_scalars_and_panels(project, tmp_path, monkeypatch):
    """For real; what was written is read back from its folder."""
    monkeypatch.delenv('WANDB_API_KEY', raising=False)
    monkeypatch.setenv('WANDB_SILENT', 'true')
    options = ('wandb=offline', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'custom_hooks.2.interval=1')
    train(project, tmp_path, *options)
    import wandb

    wandb.finish()
    (folder,) = tmp_path.glob('wandb/offline-run-*')
    panels = {path.name.rsplit('_', 2)[0] for path in folder.glob('files/media/images/*.png')}
    assert {'panel_train', 'panel_val_000'} <= panels
    (record,) = folder.glob('run-*.wandb')
    content = record.read_bytes()
    for name in (b'loss_rgb', b'loss_lidar_depth', b'psnr', b'memory_mb'):
        assert name in content


def test_scalars_are_in_a_local_file_as_well(trained):
    assert any('loss_rgb' in entry for entry in scalars(trained))


def scalars(work_dir: Path) -> list[dict[str, float]]:
    """Read what the only run in a work directory wrote to its local file."""
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_processes_give_what_one_gives_with_two_samples_per_step(project, tmp_path):
    """The same weights after as many samples, and metrics over every sample once.

    All with one thread: then every sample is computed alike, and only the gradients of two samples are summed in
    another order. Other threads sum everything in another order, which instance norms over tiny maps amplify.
    """
    options = (*RANDOM, 'train_dataloader.sampler.shuffle=False', 'default_hooks.checkpoint.interval=4')
    two = tmp_path / 'two'
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2', '--master_port', free_port()]
    command += ['tools/train.py', str(project.config), '--work-dir', str(two), '--launcher', 'pytorch']
    command += ['--cfg-options', *options, 'train_cfg.max_iters=4', 'train_cfg.val_interval=4']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]

    one = tmp_path / 'one'
    more = ('train_cfg.max_iters=8', 'train_cfg.val_interval=8', 'optim_wrapper.accumulative_counts=2')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = run('train', project.config, '--work-dir', one, '--cfg-options', *options, *more)
    finally:
        torch.set_num_threads(threads)
    assert result.code == 0
    expected = read_checkpoint(one / 'iter_8.pth')['state_dict']
    for name, value in read_checkpoint(two / 'iter_4.pth')['state_dict'].items():
        # Sums in another order; Adam divides small gradients by themselves.
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-4)
    figures = [validation(work_dir) for work_dir in (two, one)]
    assert figures[0] == pytest.approx(figures[1], rel=2e-3)


def validation(work_dir: Path) -> dict[str, float]:
    """Return the figures of the last validation of a run."""
    entry = [entry for entry in scalars(work_dir) if 'loss' not in entry][-1]
    return {name: value for name, value in entry.items() if 'time' not in name and name != 'step'}


def test_a_launcher_without_its_environment_is_refused(project, tmp_path, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    assert_refused(run('train', project.config, '--work-dir', tmp_path, '--launcher', 'pytorch'), 'RANK', 'torchrun')
