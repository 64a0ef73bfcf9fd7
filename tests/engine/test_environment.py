"""How processes were started is what the options say; nobody waits for ever, no two trainings share a folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from projects.DistillNeRF.engine.distributed import join
from projects.DistillNeRF.engine.environment import require_launcher, require_one_process
from projects.DistillNeRF.engine.failures import machine_failures
from projects.DistillNeRF.engine.run_lock import NAME, training_in
from projects.DistillNeRF.utils.errors import InputError
from tests.tools.commands import ROOT, run
from tests.tools.test_commands_bad_input import refused

TORCHRUN = {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '29571'}
SRUN = {'SLURM_PROCID': '1', 'SLURM_LOCALID': '1', 'SLURM_NTASKS': '2', 'SLURM_STEP_ID': '0'}
BATCH_SCRIPT = {'SLURM_PROCID': '0', 'SLURM_LOCALID': '0', 'SLURM_NTASKS': '2', 'SLURM_JOB_ID': '7'}
MPIRUN = {'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_RANK': '0'}
STARTERS = ('SLURM_', 'OMPI_', 'PMI_', 'MV2_', 'TORCHELASTIC_')


@pytest.fixture(autouse=True)
def alone(monkeypatch) -> None:
    """Nothing started these tests as one of several processes."""
    for name in [name for name in os.environ if name.startswith(STARTERS) or name in TORCHRUN]:
        monkeypatch.delenv(name)


def started(monkeypatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ('variables', 'launcher', 'words'),
    [
        (TORCHRUN, 'none', r'torchrun started 2 processes.*same files; add --launcher pytorch'),
        (SRUN, 'none', r'slurm has 2 tasks.*srun and --launcher slurm'),
        (BATCH_SCRIPT, 'none', r'slurm has 2 tasks.*srun --ntasks=1'),
        (MPIRUN, 'none', r'mpirun started 2 processes.*torchrun and --launcher pytorch'),
        ({}, 'slurm', r'SLURM_PROCID is not set.*start with srun'),
        ({**TORCHRUN, 'TORCHELASTIC_RUN_ID': 'none'}, 'slurm', r'give --launcher pytorch'),
        (SRUN, 'pytorch', r'srun started this process.*give --launcher slurm'),
    ],
)
def test_the_launcher_is_what_started_the_process(monkeypatch, variables, launcher, words):
    started(monkeypatch, variables)
    with pytest.raises(InputError, match=words):
        require_launcher(launcher)


@pytest.mark.parametrize(
    ('variables', 'launcher'),
    [
        ({}, 'none'),
        (TORCHRUN, 'pytorch'),
        ({**TORCHRUN, 'WORLD_SIZE': '1'}, 'none'),
        ({**BATCH_SCRIPT, 'SLURM_NTASKS': '1'}, 'none'),
        (SRUN, 'slurm'),
        ({**SRUN, **TORCHRUN}, 'pytorch'),
        ({'SLURM_NTASKS': '8', 'SLURM_JOB_ID': '7'}, 'none'),
    ],
)
def test_launchers_that_are_right(monkeypatch, variables, launcher):
    started(monkeypatch, variables)
    require_launcher(launcher)


def test_commands_that_know_one_process_only(monkeypatch, project, tmp_path):
    require_one_process()
    with monkeypatch.context() as patch:
        started(patch, BATCH_SCRIPT)
        require_one_process()
    started(monkeypatch, TORCHRUN)
    for tool, arguments in (
        ('test', (project.config, 'None', '--work-dir', tmp_path)),
        ('visualization', (project.config, 'None')),
        ('novel_view_synthesis', (project.config, 'None')),
        ('infer', (tmp_path, project.config, 'None', '--out', tmp_path)),
        ('convert_checkpoint', (tmp_path / 'a.pth', tmp_path / 'b.pth')),
        ('create_data', ('minitown', '--root-path', tmp_path)),
        ('viewer', (project.config, 'None')),
    ):
        refused(run(tool, *arguments), 'torchrun (WORLD_SIZE=2)', 'with python alone')
    assert not list(tmp_path.iterdir())


def test_torchrun_without_a_launcher_trains_nothing(project, tmp_path):
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2', '--master_port', '29573']
    command += ['tools/train.py', str(project.config), '--work-dir', str(tmp_path / 'work')]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode != 0
    assert 'error: torchrun started 2 processes' in ended.stderr
    assert not list(tmp_path.rglob('*.pth')) and not list(tmp_path.rglob('*.log'))


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'MASTER_PORT': ''}, 'MASTER_PORT is not set'),
        ({'MASTER_PORT': 'first'}, "MASTER_PORT='first' is no number"),
        ({'MASTER_PORT': '70000'}, 'no such port'),
        ({'RANK': '2'}, 'RANK=2, but there are WORLD_SIZE=2'),
        ({'MASTER_ADDR': 'nowhere.invalid'}, r'nowhere\.invalid:29571: there is no such machine'),
        ({}, r'127\.0\.0\.1:29571: process 0 of 2 waited 1 s for the others in vain'),
        ({'RANK': '1'}, r'process 1 of 2 waited 1 s for the others in vain'),
    ],
)
def test_processes_that_do_not_meet(monkeypatch, changed, words):
    started(monkeypatch, {**TORCHRUN, **changed})
    with pytest.raises(InputError, match=words):
        join(Config(), 'pytorch', patience=1)


def test_the_port_is_taken(monkeypatch):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        started(monkeypatch, {**TORCHRUN, 'MASTER_PORT': str(taken.getsockname()[1])})
        with pytest.raises(InputError, match=r'the port is taken; set MASTER_PORT'):
            join(Config(), 'pytorch', patience=1)


def test_gpus_that_torch_does_not_see(monkeypatch, capsys):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    for value, said in (('0,1', True), ('', False), ('-1', False)):
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', value)
        join(Config(), 'none')
        assert ('CUDA_VISIBLE_DEVICES=0,1, but torch sees no GPU' in capsys.readouterr().err) == said


HOLDER = """
import sys, time
from pathlib import Path
from projects.DistillNeRF.engine.run_lock import training_in
with training_in(Path(sys.argv[1])):
    print('locked', flush=True)
    time.sleep(600)
"""


def test_two_trainings_in_one_folder(project, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == 'locked\n'
        before = sorted(tmp_path.iterdir())
        result = run('train', project.config, '--work-dir', tmp_path)
        refused(result, tmp_path, f'process {holder.pid} on', 'trains here already', 'another --work-dir')
        assert sorted(tmp_path.iterdir()) == before == [tmp_path / NAME]
    finally:
        holder.kill()
        holder.wait()
    # What a killed training leaves behind keeps nobody out.
    assert (tmp_path / NAME).exists()
    with training_in(tmp_path):
        assert str(os.getpid()) in (tmp_path / NAME).read_text()
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (
            RuntimeError('DataLoader worker (pid 7) is killed by signal: Bus error.'),
            r'train_loader\.num_workers, now 3',
        ),
        (RuntimeError('DataLoader worker (pid(s) 7, 8) exited unexpectedly'), r'/dev/shm'),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), r'batch_size'),
        (RuntimeError('CUDA out of memory. Tried to allocate 2 GiB'), r'activation_checkpointing=True'),
        (MemoryError(), r'out of memory'),
        (
            OSError(28, 'No space left on device', 'work/iter_2.pth'),
            r'work/iter_2\.pth: could not be written.*--resume',
        ),
    ],
)
def test_failures_of_the_machine_have_cures(error, words):
    config = Config({'work_dir': 'work', 'train_loader': {'num_workers': 3}})
    with pytest.raises(InputError, match=words), machine_failures(config, 'train_loader'):
        raise error


@pytest.mark.parametrize(
    'error', [RuntimeError('Caught RuntimeError in DataLoader worker process 0.'), OSError(2, 'No')]
)
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error)), machine_failures(Config({'work_dir': 'work'}), 'train_loader'):
        raise error


def test_small_numbers_are_zero_and_freed_memory_is_kept(repo_root: Path):
    """In a process of its own: the settings last."""
    script = """
import torch
from projects.DistillNeRF.engine.environment import prepare_processor
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4096
prepare_processor()
assert (torch.tensor([1e-39]) * 1).item() == 0
x = torch.ones(1 << 26)
before = resident()
del x
assert resident() > before - (1 << 20), 'the memory was given back'
"""
    subprocess.run([sys.executable, '-c', script], cwd=repo_root, check=True)
