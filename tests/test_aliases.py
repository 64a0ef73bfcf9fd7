"""Names of before go on working for one release."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from projects.DistillNeRF.aliases import MOVED, PACKAGE


@pytest.mark.parametrize('name', MOVED)
def test_an_old_module_shares_the_objects_of_the_new_one(name: str) -> None:
    sys.modules.pop(f'{PACKAGE}.{name}', None)
    with pytest.warns(FutureWarning, match=f'{PACKAGE}.{name} is now'):
        old = importlib.import_module(f'{PACKAGE}.{name}')
    for place in MOVED[name]:
        new = importlib.import_module(f'{PACKAGE}.{place}')
        public = [key for key in vars(new) if not key.startswith('_')]
        assert public and all(getattr(old, key) is getattr(new, key) for key in public)


def test_a_module_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f'{PACKAGE}.modules.nothing')


def test_code_of_before_runs(repo_root: Path) -> None:
    """What docs/OWN_DATA.md told users to import."""
    lines = [
        'from projects.DistillNeRF.apis import init_model, reconstruct',
        'from projects.DistillNeRF.datasets.own_data import read_folder, write_folder',
        'from projects.DistillNeRF.models.scene import Scene',
        'from projects.DistillNeRF.modules.cameras import Cameras',
        'from projects.DistillNeRF.modules.views import Views',
        'from projects.DistillNeRF.engine.config import load_config',
        'from projects.DistillNeRF.engine.running import build_dataset',
    ]
    result = subprocess.run([sys.executable, '-c', '\n'.join(lines)], cwd=repo_root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
