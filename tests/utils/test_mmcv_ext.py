"""mmcv without compiled operators."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from projects.DistillNeRF.utils.mmcv_ext import EXTENSION, MissingOpError, StandInExtension


def run_python(code: str, cwd: Path) -> str:
    """Output of ``code`` in a fresh process, where nothing of mm* is imported yet."""
    result = subprocess.run([sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_everything_imports_and_a_called_op_says_what_to_do(repo_root: Path) -> None:
    code = """
import importlib.util
from projects.DistillNeRF.utils.mmcv_ext import MissingOpError, ensure_mmcv_ext
has_real = importlib.util.find_spec('mmcv._ext') is not None
assert ensure_mmcv_ext() is has_real
assert ensure_mmcv_ext() is has_real
import torch, mmdet3d.models, mmcv.ops
from mmcv.utils import collect_env
assert collect_env()['MMCV Compiler']
boxes, scores = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.tensor([0.9, 0.8])
try:
    kept = mmcv.ops.nms(boxes, scores, 0.5)[1].tolist()
except MissingOpError as error:
    kept = str(error)
print('REAL' if has_real else 'STAND-IN', kept)
"""
    output = run_python(code, repo_root)
    if 'REAL' in output:
        assert 'REAL [0]' in output
    else:
        assert "STAND-IN mmcv operator 'nms' was called" in output
        assert output.count('stand-in for mmcv._ext is in use') == 1
        assert 'bash setup.sh --with-ops' in output.split('STAND-IN')[1]


def test_stand_in_has_every_operator_and_no_magic() -> None:
    stand_in = StandInExtension(EXTENSION)
    assert hasattr(stand_in, 'roi_align_forward')
    with pytest.raises(MissingOpError, match=r"'roi_align_forward'.*setup\.sh --with-ops"):
        stand_in.roi_align_forward(1, key=2)
    assert not hasattr(stand_in, '__path__')


def test_a_real_extension_is_left_alone(repo_root: Path, tmp_path: Path) -> None:
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    (tmp_path / 'mmcv' / '_ext.py').write_text('answer = 42')
    code = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(repo_root)!r}]
from projects.DistillNeRF.utils.mmcv_ext import ensure_mmcv_ext
assert ensure_mmcv_ext() and ensure_mmcv_ext()
print(sys.modules['mmcv._ext'].answer)
"""
    assert run_python(code, tmp_path).strip() == '42'
