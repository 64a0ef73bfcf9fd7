"""The rooms import in one direction (contracts in pyproject.toml, docs/ARCHITECTURE.md)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

CONTRACT = """
[tool.importlinter]
root_packages = ["projects"]
[[tool.importlinter.contracts]]
name = "Rooms"
type = "layers"
containers = ["projects.DistillNeRF"]
"""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = 'import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))'
    environment = os.environ | {'PYTHONPATH': str(folder)}
    return subprocess.run([sys.executable, '-c', code], cwd=folder, env=environment, capture_output=True, text=True)


def test_every_room_keeps_to_its_layer(repo_root: Path) -> None:
    result = lint(repo_root)
    assert result.returncode == 0, result.stdout
    assert '5 kept, 0 broken' in result.stdout


def test_an_import_that_climbs_is_noticed(repo_root: Path, tmp_path: Path) -> None:
    """A project of two rooms, under the first contract."""
    for room in ('modules', 'models'):
        (tmp_path / 'projects/DistillNeRF' / room).mkdir(parents=True)
        (tmp_path / 'projects/DistillNeRF' / room / '__init__.py').touch()
    for folder in (tmp_path / 'projects', tmp_path / 'projects/DistillNeRF'):
        (folder / '__init__.py').touch()
    layers = re.search(r'^layers = (\[.*?^\])', (repo_root / 'pyproject.toml').read_text(), re.DOTALL | re.MULTILINE)[1]
    contract = CONTRACT + 'layers = ' + re.sub(r'(\w+)', r'(\1)', layers)  # in parentheses: it may be absent
    (tmp_path / 'pyproject.toml').write_text(contract)
    assert lint(tmp_path).returncode == 0
    (tmp_path / 'projects/DistillNeRF/modules/layers.py').write_text('from projects.DistillNeRF import models\n')
    result = lint(tmp_path)
    assert result.returncode == 1 and 'projects.DistillNeRF.modules is not allowed to import' in result.stdout
