"""No two trainings share a work folder."""

from __future__ import annotations

import os
import subprocess
import sys

from projects.DistillNeRF.engine.work_dir import LOCK_NAME, training_in
from tests.helpers.commands import ROOT, run
from tests.helpers.refusals import assert_refused

HOLDER = """
import sys, time
from pathlib import Path
from projects.DistillNeRF.engine.work_dir import training_in
with training_in(Path(sys.argv[1])):
    print('locked', flush=True)
    time.sleep(600)
"""


def test_a_second_training_in_one_folder_is_refused(project, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == 'locked\n'
        before = sorted(tmp_path.iterdir())
        result = run('train', project.config, '--work-dir', tmp_path)
        assert_refused(result, tmp_path, f'process {holder.pid} on', 'trains here already', 'another --work-dir')
        assert sorted(tmp_path.iterdir()) == before == [tmp_path / LOCK_NAME]
    finally:
        holder.kill()
        holder.wait()
    # What a killed training leaves behind keeps nobody out.
    assert (tmp_path / LOCK_NAME).exists()
    with training_in(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_NAME).read_text()
    assert not (tmp_path / LOCK_NAME).exists()
