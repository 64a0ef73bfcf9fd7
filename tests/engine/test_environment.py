"""How processes were started is what the options say; no process waits for ever."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from mmengine.config import Config

from projects.DistillNeRF.engine.distributed import join
from projects.DistillNeRF.engine.environment import require_launcher, require_one_process
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import ROOT, run
from tests.helpers.ranks import free_port
from tests.helpers.refusals import assert_refused

TORCHRUN = {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '29571'}
SRUN = {'SLURM_PROCID': '1', 'SLURM_LOCALID': '1', 'SLURM_NTASKS': '2', 'SLURM_STEP_ID': '0'}
BATCH_SCRIPT = {'SLURM_PROCID': '0', 'SLURM_LOCALID': '0', 'SLURM_NTASKS': '2', 'SLURM_JOB_ID': '7'}
MPIRUN = {'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_RANK': '0'}
STARTERS = ('SLURM_', 'OMPI_', 'PMI_', 'MV2_', 'TORCHELASTIC_')


@pytest.fixture(autouse=True)
def alone(monkeypatch) -> None:
    """Nothing started these tests as one of several processes; what joining them sets is forgotten afterwards."""
    for name in [*TORCHRUN, *(name for name in os.environ if name.startswith(STARTERS))]:
        monkeypatch.setenv(name, '')
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
        (MPIRUN, 'none', r'mpirun started 2 processes.*add --launcher mpi'),
        (TORCHRUN, 'mpi', r'OMPI_COMM_WORLD_RANK is not set.*start with mpirun'),
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
        (MPIRUN, 'mpi'),
        ({**SRUN, **TORCHRUN}, 'pytorch'),
        ({'SLURM_NTASKS': '8', 'SLURM_JOB_ID': '7'}, 'none'),
    ],
)
def test_the_right_launcher_is_accepted(monkeypatch, variables, launcher):
    started(monkeypatch, variables)
    require_launcher(launcher)


def test_other_commands_refuse_to_be_one_of_several_processes(monkeypatch, project, tmp_path):
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
        ('predict_occupancy', (project.config, 'None', '--out', tmp_path)),
        ('score_occupancy', (tmp_path, tmp_path)),
        ('experiment', (tmp_path / 'x.py',)),
    ):
        assert_refused(run(tool, *arguments), 'torchrun (WORLD_SIZE=2)', 'with python alone')
    assert not list(tmp_path.iterdir())


def test_torchrun_without_a_launcher_trains_nothing(project, tmp_path):
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2', '--master_port', free_port()]
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
        ({'MASTER_ADDR': 'nowhere.invalid'}, r'nowhere\.invalid:<port>: there is no such machine'),
        ({}, r'127\.0\.0\.1:<port>: process 0 of 2 waited 1 s for the others in vain'),
        ({'RANK': '1'}, r'process 1 of 2 waited 1 s for the others in vain'),
    ],
)
def test_a_process_that_does_not_meet_the_others_says_why(monkeypatch, changed, words):
    port = free_port()
    started(monkeypatch, {**TORCHRUN, 'MASTER_PORT': port, **changed})
    with pytest.raises(InputError, match=words.replace('<port>', port)):
        join(Config(), 'pytorch', patience=1)


def test_the_variables_of_open_mpi_are_understood(monkeypatch):
    port = free_port()
    started(monkeypatch, {**MPIRUN, 'OMPI_COMM_WORLD_LOCAL_RANK': '0', 'MASTER_PORT': port})
    with pytest.raises(InputError, match=r'MASTER_ADDR is not set; set it to the name of the first machine'):
        join(Config(), 'mpi', patience=1)
    started(monkeypatch, {'OMPI_COMM_WORLD_LOCAL_SIZE': '2'})
    with pytest.raises(InputError, match=rf'127\.0\.0\.1:{port}: process 0 of 2 waited 1 s'):
        join(Config(), 'mpi', patience=1)


def test_a_taken_port_is_reported(monkeypatch):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        started(monkeypatch, {**TORCHRUN, 'MASTER_PORT': str(taken.getsockname()[1])})
        with pytest.raises(InputError, match=r'the port is taken; set MASTER_PORT'):
            join(Config(), 'pytorch', patience=1)


def test_gpus_that_torch_does_not_see_are_a_warning(monkeypatch, capsys):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    for value, said in (('0,1', True), ('', False), ('-1', False)):
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', value)
        join(Config(), 'none')
        assert ('CUDA_VISIBLE_DEVICES=0,1, but torch sees no GPU' in capsys.readouterr().err) == said
