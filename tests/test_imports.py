"""Geometry, modules, semantics and the inference interface need torch and numpy, and nothing else that is installed."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from projects.DistillNeRF import foundation_models, geometry, modules, semantics
from projects.DistillNeRF.kernels import selection

MODULES = [
    module.name
    for room in (foundation_models, geometry, modules, semantics)
    for module in pkgutil.walk_packages(room.__path__, f'{room.__name__}.')
]
# Files of kernels import triton, and are imported when one is chosen.
NAMES = ['projects.DistillNeRF.apis', selection.__name__, *MODULES]

# Imports each name afresh where every installed package is hidden, save torch, numpy and what torch itself imports
# while it is imported. Prints {name: what went wrong, or nothing}.
IMPORT_ALONE = """
import importlib, importlib.metadata, json, sys, traceback
import torch

installed = set(importlib.metadata.packages_distributions())
hidden = installed | {'mmcv', 'mmdet', 'mmdet3d', 'mmengine', 'torchvision'}
hidden -= {name.partition('.')[0] for name in sys.modules} | {'projects'}  # ours is installed, too
assert {'mmcv', 'mmdet3d', 'mmengine', 'cv2', 'trimesh', 'nuscenes', 'PIL', 'scipy', 'triton'} <= hidden, sorted(hidden)


class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in hidden:
            raise ImportError(f'{name} is hidden: only torch and numpy may be needed here')
        return None


sys.meta_path.insert(0, Hide())
problems = {}
for name in sys.argv[1:]:
    for loaded in [loaded for loaded in sys.modules if loaded.partition('.')[0] == 'projects']:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except Exception:
        problems[name] = traceback.format_exc()
    else:
        problems[name] = ''
print(json.dumps(problems))
"""


def import_alone(names: list[str], cwd: Path) -> dict[str, str]:
    command = [sys.executable, '-c', IMPORT_ALONE, *names]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope='module')
def problems(repo_root: Path) -> dict[str, str]:
    """What went wrong for each of ``NAMES``."""
    return import_alone(NAMES, repo_root)


def test_modules_are_discovered() -> None:
    assert 'projects.DistillNeRF.geometry.cameras' in MODULES


@pytest.mark.parametrize('name', NAMES)
def test_imports_with_torch_and_numpy_alone(name: str, problems: dict[str, str]) -> None:
    assert problems[name] == ''


def test_a_hidden_package_is_noticed(tmp_path: Path) -> None:
    (tmp_path / 'needs_mmengine.py').write_text('import mmengine')
    assert 'mmengine is hidden' in import_alone(['needs_mmengine'], tmp_path)['needs_mmengine']
