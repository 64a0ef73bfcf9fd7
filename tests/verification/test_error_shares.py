"""Where the squared error lies."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.structures import BaseDataElement

from tests.helpers.networks import lidar_views
from verification import error_shares


def prediction(frames: tuple[int, ...]) -> BaseDataElement:
    """Views of 16 x 24 whose upper half is sky, with one row of something that moves; all is rendered black."""
    views = lidar_views(len(frames), 0)
    depth = torch.full((len(frames), 16, 24), 20.0)
    depth[:, :8], depth[:, 14:] = math.nan, 5.0
    moving = torch.zeros_like(depth)
    moving[:, 10] = 1
    changed = {'images': torch.full_like(views.images, 0.5), 'frames': frames, 'true_depth': depth, 'moving': moving}
    targets = type(views)(**{**vars(views), **changed})
    opacity = torch.ones(len(frames), 16, 24)
    opacity[:, :, 0] = 0
    return BaseDataElement(target_views=targets, rgb=torch.zeros_like(targets.images), opacity=opacity)


def test_every_pixel_is_in_one_part():
    found = error_shares.shares([prediction((0, 1, 1))])
    counts = {name: share.pixels / 24 for name, share in found['input views'].items()}
    names = ('sky', 'sky, 2', 'holes', 'what moves', 'nearer', '8 to', 'beyond')
    assert all(name.startswith(start) for name, start in zip(counts, names, strict=True))
    holes = 8 / 24
    still = [rows * 23 / 24 for rows in (1, 2, 5, 0)]
    assert list(counts.values()) == pytest.approx([6, 2, holes, *still])
    assert all(share.error == pytest.approx(0.25 * share.pixels) for share in found['input views'].values())
    assert [share.pixels for share in found['next frame'].values()] == pytest.approx(
        [2 * share.pixels for share in found['input views'].values()]
    )


def test_the_table_says_what_a_perfect_part_would_bring():
    found = {'a': error_shares.Share(25, 3.0), 'b': error_shares.Share(75, 1.0), 'c': error_shares.Share()}
    assert error_shares.table('part', found)[2:] == [
        '| a | 0.250 | 0.750 | 9.21 | 20.00 |',
        '| b | 0.750 | 0.250 | 18.75 | 15.23 |',
        '| c | 0.000 | 0.000 |  | 13.98 |',
        '| all | 1 | 1 | 13.98 | |',
    ]


def test_the_command_divides_the_error_of_a_network(town, monkeypatch, capsys):
    config, checkpoint = 'projects/DistillNeRF/configs/model_wrapper/successor_minitown.py', 'checkpoint/minitown.pth'
    monkeypatch.setattr(
        'sys.argv', ['x', config, checkpoint, '--cfg-options', f'test_dataloader.dataset.data_root={town}']
    )
    error_shares.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip('| ').split(' | ') for line in lines if line.startswith('|')]
    for title in error_shares.FRAMES:
        start = next(i for i, row in enumerate(rows) if row[0] == title)
        parts, everything = rows[start + 2 : start + 9], rows[start + 9]
        assert sum(float(row[1]) for row in parts) == pytest.approx(1, abs=0.005)
        assert sum(float(row[2]) for row in parts) == pytest.approx(1, abs=0.005)
        assert 5 < float(everything[3]) < 40 and float(parts[0][1]) > 0


def test_data_without_what_moves_are_refused(project, trained, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['x', str(project.config), str(trained / 'iter_3.pth')])
    with pytest.raises(SystemExit) as stopped:
        error_shares.main()
    assert stopped.value.code == 2 and 'does not say what moves' in capsys.readouterr().err
    assert torch.is_grad_enabled(), 'what was stopped half-way left gradients off'
