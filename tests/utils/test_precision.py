"""The precision of a run: TF32 on or off, autocast, and what a device cannot do."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.utils.precision import PRECISIONS, allow_tf32, computing, require_precision


def tf32() -> tuple[bool, bool]:
    """Whether matrix products and convolutions may use TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def usual():
    """As torch is after its import; afterwards as before."""
    with computing('fp32', 'cpu'):
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
        yield


@pytest.mark.parametrize('precision', PRECISIONS)
def test_a_precision_holds_inside_alone(precision):
    wanted = (precision == 'tf32',) * 2
    dtype = {'bf16': torch.bfloat16, 'fp16': torch.float16}.get(precision)
    with computing(precision, 'cpu'):
        assert tf32() == wanted
        assert torch.is_autocast_enabled('cpu') == (dtype is not None)
        assert dtype is None or torch.get_autocast_dtype('cpu') == dtype
        with computing('fp32', 'cpu'):
            assert tf32() == (False, False)
        assert tf32() == wanted
    assert tf32() == (False, True) and not torch.is_autocast_enabled('cpu')


def test_what_was_set_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError), computing('bf16', 'cpu'):
        raise ZeroDivisionError
    assert tf32() == (False, True) and not torch.is_autocast_enabled('cpu')


def test_float32_leaves_an_outer_autocast_alone():
    with torch.autocast('cpu', dtype=torch.bfloat16), computing('fp32', 'cpu'):
        assert torch.is_autocast_enabled('cpu')


@pytest.mark.parametrize('allowed', [True, False])
def test_a_process_allows_tf32_or_not(allowed):
    allow_tf32(allowed)
    assert tf32() == (allowed, allowed)


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, 'conv'), reason='torch before 2.9 has the switches alone')
def test_float32_holds_where_a_user_has_set_tf32_in_the_new_way():
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    for kind in kinds:
        kind.fp32_precision = 'tf32'
    with computing('fp32', 'cpu'):
        assert [kind.fp32_precision for kind in kinds] == ['ieee', 'ieee']
    assert [kind.fp32_precision for kind in kinds] == ['tf32', 'tf32']


def test_what_a_processor_cannot_do_is_refused_or_told(caplog):
    with pytest.raises(InputError, match=r'--precision fp16: needs a GPU.*choose bf16 or fp32'):
        require_precision('fp16', True, '--precision')
    with pytest.raises(InputError, match='precision double: no such precision; choose from fp32, tf32, bf16, fp16'):
        require_precision('double', False)
    require_precision('tf32', True)
    assert 'tf32: is for GPUs, and this runs on the CPU: it computes in fp32' in caplog.text
    caplog.clear()
    for precision in PRECISIONS:
        require_precision(precision, False)
    require_precision('bf16', True)
    assert not caplog.text
