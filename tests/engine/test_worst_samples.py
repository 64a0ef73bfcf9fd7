"""The worst samples and the median one are found, and drawn."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.engine.worst_samples import check_panels, choose_samples
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import run
from tests.helpers.files import picture, written
from tests.helpers.refusals import assert_refused


def ranked(samples: list[dict], count: int) -> list[tuple[str, str, str]]:
    return [(one.rank, one.token, one.figure) for one in choose_samples(samples, count)]


def of(**figures: float) -> list[dict]:
    return [{'token': token, 'scene': 's', 'psnr': value} for token, value in figures.items()]


def test_low_psnr_is_bad():
    samples = of(a=20, b=18, c=25, d=19, e=30)
    assert ranked(samples, 2) == [('worst_01', 'b', 'psnr'), ('worst_02', 'd', 'psnr'), ('median', 'a', 'psnr')]
    # Of four it is the worse of the two in the middle.
    assert ranked(samples[:4], 1)[-1] == ('median', 'd', 'psnr')
    assert len(ranked(samples, 9)) == 6 and ranked(of(a=1), 1) == [('worst_01', 'a', 'psnr'), ('median', 'a', 'psnr')]


def test_large_errors_of_depth_are_bad():
    samples = [{'token': str(number), 'abs_rel': value} for number, value in enumerate((0.1, 0.4, 0.2))]
    assert ranked(samples, 1) == [('worst_01', '1', 'abs_rel'), ('median', '2', 'abs_rel')]
    # A sample without the figure is not ranked by another one.
    assert ranked([*samples, {'token': 'x', 'lidar/abs_rel': 9.0}], 1)[0][1] == '1'


def test_samples_without_any_such_figure_and_counts_of_none_are_refused():
    with pytest.raises(InputError, match='none was measured'):
        choose_samples([{'token': 'a', 'scene': 's', 'query/miou': 0.5}], 1)
    with pytest.raises(InputError, match='--panels 0: nothing to draw'):
        check_panels(0, 'a.pth')
    with pytest.raises(InputError, match='give a checkpoint'):
        check_panels(1, None)


def test_panels_are_named_by_rank_token_and_figure(project, trained, tmp_path):
    stale = tmp_path / 'worst_samples' / 'worst_09_old_psnr_1.000.png'
    stale.parent.mkdir()
    stale.write_bytes(b'')
    (stale.parent / 'mine.png').write_bytes(b'')
    arguments = ('test', project.config, trained / 'iter_3.pth', '--eval', 'psnr', '--work-dir', tmp_path)
    result = run(*arguments, '--panels', 2, '--out', tmp_path / 'r.csv')
    assert result.code == 0, result.err
    files = written(result.out)[1:]
    assert [path.parent for path in files] == [tmp_path / 'worst_samples'] * 3
    names = [path.stem.split('_') for path in files]
    assert [name[:2] for name in names] == [['worst', '01'], ['worst', '02'], ['median', names[2][1]]]
    values = [float(name[-1]) for name in names]
    assert values[0] <= values[1] == values[2]  # of three the second worst is the median
    tokens = [name[-3] for name in names]
    assert set(tokens) <= {'box0', 'box1', 'box2'} and tokens[1] == tokens[2] != tokens[0]
    first, second, median = (picture(path) for path in files)
    assert not np.array_equal(first, second) and np.array_equal(second[:300], median[:300])
    assert not stale.exists() and (stale.parent / 'mine.png').exists()


def test_panels_of_random_weights_are_refused(project, tmp_path):
    assert_refused(run('test', project.config, 'None', '--work-dir', tmp_path, '--panels', 1), 'give a checkpoint')
