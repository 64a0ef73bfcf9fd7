"""Names of groups and figures."""

from __future__ import annotations

from types import SimpleNamespace

from projects.DistillNeRF.evaluation.report import key, view_groups


def views(*pairs: tuple[str, int]) -> SimpleNamespace:
    names, frames = zip(*pairs, strict=True)
    return SimpleNamespace(names=names, frames=frames)


def test_groups_by_hand():
    inputs = views(('A', 0), ('B', 0))
    targets = views(('A', 1), ('A', 0), ('C', 0), ('A', -1), ('B', 2), ('B', 0), ('C', -3), ('C', 1))
    groups = view_groups(inputs, targets)
    assert groups == {'next': [0, 7], '': [1, 5], 'virtual': [2], 'previous': [3], 'frame+2': [4], 'frame-3': [6]}


def test_keys_leave_empty_parts_out():
    assert (key('next', 'psnr'), key('', 'psnr'), key('a', '', 'b')) == ('next/psnr', 'psnr', 'a/b')
