"""Types of the network and its geometry hold (settings in pyproject.toml)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLEAN = ('geometry', 'kernels', 'modules', 'models')


def check_types(folder: Path, cache: Path, *files: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'mypy', f'--cache-dir={cache}', *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_types_are_clean_and_a_wrong_one_is_noticed(repo_root: Path, tmp_path: Path) -> None:
    settings = re.search(r'^\[tool\.mypy\]\nfiles = (.*)$', (repo_root / 'pyproject.toml').read_text(), re.MULTILINE)
    assert all(f'"projects/DistillNeRF/{folder}"' in settings[1] for folder in CLEAN)
    result = check_types(repo_root, tmp_path / 'cache')
    assert result.returncode == 0, result.stdout + result.stderr
    wrong = tmp_path / 'wrong.py'
    wrong.write_text(
        'from projects.DistillNeRF.modules.layers import soft_clamp\n'
        'import torch\n\nresult: int = soft_clamp(torch.zeros(1), 1.0)\n'
    )
    # A file outside the project, under its settings and with its cache.
    result = check_types(repo_root, tmp_path / 'cache', str(wrong))
    assert result.returncode == 1 and 'Incompatible types in assignment' in result.stdout, result.stdout


def test_every_ignored_error_has_a_code_and_a_reason(repo_root: Path) -> None:
    for folder in CLEAN:
        for file in (repo_root / 'projects/DistillNeRF' / folder).glob('*.py'):
            for line in file.read_text().splitlines():
                assert '# type: ignore' not in line or re.search(r'# type: ignore\[[\w-]+\]  # \w', line), (file, line)
