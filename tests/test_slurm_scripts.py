"""The slurm scripts, with the real training and stand-ins for slurm's own commands."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from projects.DistillNeRF.models.checkpoint import read_checkpoint
from tests.helpers.commands import ROOT, Project
from tests.helpers.ranks import free_port

# Slurm's commands: each notes how it was called; srun starts two tasks, and the first that fails ends the other.
STAND_INS = {
    'sbatch': 'echo "$*" >>"$CALLS/sbatch"; echo "CHAIN=${CHAIN:-}" >>"$CALLS/chain"; echo 78',
    'scancel': 'echo "$*" >>"$CALLS/scancel"',
    'squeue': 'echo 1-00:00:00',
    'scontrol': 'echo 127.0.0.1',
    'srun': """
[[ $1 == --kill-on-bad-exit=1 ]] || exit 99
while [[ $1 == --* ]]; do shift; done
env | grep -E '_NUM_THREADS=|MASTER_' >"$CALLS/environment"
for task in 0 1; do SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=2 "$@" & tasks[task]=$!; done
code=0
for task in 0 1; do wait -n || { code=$?; kill "${tasks[@]}" 2>/dev/null; break; }; done
exit $code""",
}
SLURM = {
    'SLURM_JOB_ID': '77',
    'SLURM_JOB_NODELIST': 'here',
    'SLURM_JOB_NUM_NODES': '1',
    'SLURM_NTASKS_PER_NODE': '2',
    'SLURM_GPUS_PER_NODE': '2',
    'SLURM_CPUS_PER_TASK': '1',
    'SLURM_JOB_PARTITION': 'night',
}


@pytest.fixture
def slurm(tmp_path) -> dict[str, str]:
    """An environment in which slurm seems to be installed."""
    commands = tmp_path / 'bin'
    commands.mkdir()
    for name, text in STAND_INS.items():
        (commands / name).write_text(f'#!/usr/bin/env bash\n{text}\n')
        (commands / name).chmod(0o755)
    python = tmp_path / 'venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/usr/bin/env bash\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    settings = {
        'CALLS': str(tmp_path),
        'VENV': str(tmp_path / 'venv'),
        'OMP_NUM_THREADS': '1',
        'MASTER_PORT': free_port(),
    }
    return {**os.environ, **SLURM, **settings, 'PATH': f'{commands}:{os.environ["PATH"]}'}


def script(name: str, environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess:
    command = ['bash', f'slurm_scripts/{name}', *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def noted(folder: Path) -> dict[str, str]:
    """Return the variables that srun saw."""
    return dict(line.split('=') for line in (folder / 'environment').read_text().splitlines())


def options(work_dir: Path, iterations: int) -> tuple[object, ...]:
    settings = (f'train_cfg.max_iters={iterations}', 'train_cfg.val_interval=9', 'default_hooks.checkpoint.interval=1')
    return '--work-dir', work_dir, '--cfg-options', *settings


def test_a_job_trains_and_has_queued_its_continuation(slurm, project: Project, tmp_path):
    work_dir = tmp_path / 'out'
    arguments = (project.config, *options(work_dir, 1))
    ended = script('train.sbatch', slurm, *arguments)
    assert ended.returncode == 0, ended.stderr
    assert read_checkpoint(work_dir / 'iter_1.pth')['meta']['iter'] == 1
    (queued,) = (tmp_path / 'sbatch').read_text().splitlines()
    own, _, passed = queued.partition('slurm_scripts/train.sbatch ')
    assert passed.split() == [str(argument) for argument in arguments]
    wanted = '--dependency=afternotok:77 --nodes=1 --time=1-00:00:00 --gpus-per-node=2 --ntasks-per-node=2'
    assert {*wanted.split(), '--cpus-per-task=1', '--partition=night', '--parsable'} <= set(own.split())
    assert (tmp_path / 'chain').read_text() == 'CHAIN=7\n'
    assert not (tmp_path / 'scancel').exists()
    # The next link goes on where this one stopped.
    ended = script('train.sbatch', {**slurm, 'CHAIN': '0'}, project.config, *options(work_dir, 2))
    assert ended.returncode == 0, ended.stderr
    assert 'resumed epoch: 0, iter: 1' in ended.stdout + ended.stderr
    assert (work_dir / 'iter_2.pth').exists()
    assert len((tmp_path / 'sbatch').read_text().splitlines()) == 1


def test_a_job_with_bad_input_takes_its_continuation_back(slurm, tmp_path):
    ended = script('train.sbatch', slurm, tmp_path / 'gone.py')
    assert ended.returncode == 2
    assert 'no such file' in ended.stderr
    assert (tmp_path / 'scancel').read_text().split() == ['78']


@pytest.mark.parametrize(('gpus', 'threads'), [('8', 1), ('a100:8', 1), ('0', 6), ('', 6)])
def test_only_without_gpus_a_process_has_more_than_one_thread(slurm, tmp_path, gpus, threads):
    changed = {'SLURM_GPUS_PER_NODE': gpus, 'SLURM_CPUS_PER_TASK': '6', 'CHAIN': '0'}
    script('train.sbatch', {**slurm, **changed, 'VENV': 'nowhere'}, 'gone.py')
    counts = noted(tmp_path)
    wanted = {'OMP_NUM_THREADS': threads, 'MKL_NUM_THREADS': threads, 'OPENBLAS_NUM_THREADS': 1}
    assert {name: int(counts[name]) for name in wanted} == wanted


@pytest.mark.parametrize(('given', 'port'), [('', '20077'), ('21212', '21212')])
def test_a_job_has_its_own_port_or_the_given_one(slurm, tmp_path, given, port):
    script('train.sbatch', {**slurm, 'MASTER_PORT': given, 'CHAIN': '0', 'VENV': 'nowhere'}, 'gone.py')
    assert noted(tmp_path)['MASTER_PORT'] == port and noted(tmp_path)['MASTER_ADDR'] == '127.0.0.1'


def test_a_taken_port_ends_the_job_with_a_cure(slurm, project: Project, tmp_path):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', int(slurm['MASTER_PORT'])))
        taken.listen()
        ended = script('train.sbatch', {**slurm, 'CHAIN': '0'}, project.config, *options(tmp_path / 'out', 1))
    assert ended.returncode == 2
    assert f'127.0.0.1:{slurm["MASTER_PORT"]}: the port is taken; set MASTER_PORT' in ended.stderr


def test_a_job_evaluates(slurm, project: Project, trained, tmp_path):
    out = tmp_path / 'figures.json'
    arguments = (project.config, trained / 'iter_3.pth', '--out', out, '--work-dir', tmp_path / 'work')
    ended = script('test.sbatch', slurm, *arguments, '--eval', 'psnr')
    assert ended.returncode == 0, ended.stderr
    assert json.loads(out.read_text())['model']['psnr'] > 0
    assert ended.stdout.count(f'wrote {out}') == 1
    ended = script('test.sbatch', slurm, project.config)
    assert ended.returncode == 2 and 'CONFIG CKPT' in ended.stderr


def test_launching(slurm, project, tmp_path):
    ended = script('launch.sh', {**slurm, 'SBATCH_OPTIONS': '--time=9'}, 2, 4, project.config, '--seed', 3)
    assert ended.returncode == 0
    expected = (
        f'--nodes=2 --gpus-per-node=4 --ntasks-per-node=4 --time=9 slurm_scripts/train.sbatch {project.config} --seed 3'
    )
    assert (tmp_path / 'sbatch').read_text().strip() == expected
    assert script('launch.sh', slurm, 2).returncode == 2
    assert 'no such config' in script('launch.sh', slurm, 2, 4, 'gone.py').stderr
