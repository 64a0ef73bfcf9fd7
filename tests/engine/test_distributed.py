"""What the processes of a training agree on: over gloo, in two processes of their own."""

from __future__ import annotations

import shutil

import pytest

from projects.DistillNeRF.engine.distributed import chosen_by_main
from projects.DistillNeRF.models.checkpoint import read_checkpoint
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import mmengine_state
from tests.helpers.ranks import run_ranks, run_script

CHOICES = """
from projects.DistillNeRF.engine.distributed import chosen_by_main
from projects.DistillNeRF.engine.resuming import checkpoint_to_resume
from projects.DistillNeRF.utils.errors import InputError

folder = Path(sys.argv[1]) / ('seen_late' if rank else 'work')
print(chosen_by_main(lambda: checkpoint_to_resume('auto', folder)))
try:
    chosen_by_main(lambda: checkpoint_to_resume(str(folder / 'empty'), folder))
except InputError as error:
    print(error)
"""
TRAINING = """
import os
from projects.DistillNeRF.engine import train
from tests.helpers.commands import load_tool

if os.environ['RANK'] == '1':
    train.checkpoint_to_resume = None  # it would look into the folder
load_tool('train').main()
"""


def test_one_process_chooses_for_itself():
    def refuse() -> str:
        raise InputError('a.pth: wrong')

    with mmengine_state():
        assert chosen_by_main(lambda: 'a.pth') == 'a.pth'
        with pytest.raises(InputError, match=r'a\.pth: wrong'):
            chosen_by_main(refuse)


def test_the_main_process_chooses_the_checkpoint_for_all(trained, tmp_path):
    """The other one sees a file that is written at this moment, and not yet what the main process sees."""
    work = shutil.copytree(trained, tmp_path / 'work')
    for folder in (work, tmp_path / 'seen_late'):
        (folder / 'empty').mkdir(parents=True)
    half = (work / 'iter_3.pth').read_bytes()[:1000]
    (tmp_path / 'seen_late/iter_9.pth').write_bytes(half)
    first, second = (text.splitlines() for text in run_script(CHOICES, tmp_path))
    assert first == second
    assert first[0] == str(work / 'iter_3.pth')
    assert first[1].startswith(f'{work / "empty"}: holds no checkpoint')


def test_no_other_process_looks_for_the_checkpoint_that_a_training_goes_on_from(project, trained, tmp_path):
    work = shutil.copytree(trained, tmp_path / 'work')
    options = ('train_cfg.max_iters=4', 'train_cfg.val_interval=99', 'custom_hooks=[]')
    arguments = (project.config, '--work-dir', work, '--launcher', 'pytorch', '--resume', '--cfg-options', *options)
    first, second = run_ranks(['-c', TRAINING, *map(str, arguments)])
    assert (first.returncode, second.returncode) == (0, 0), first.stderr[-3000:] + second.stderr[-3000:]
    assert 'resumed epoch: 0, iter: 3' in first.stdout and not second.stdout
    assert read_checkpoint(work / 'iter_4.pth')['meta']['world_size'] == 2
