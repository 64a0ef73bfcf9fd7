"""``tools/test.py`` in several processes: the figures of one, printed and written once."""

from __future__ import annotations

import json

from tests.helpers.ranks import run_ranks


def test_two_processes_give_the_figures_of_one(project, trained, tmp_path):
    """Three samples: one process has one more than the other. One thread each, so every sample is computed alike."""
    results = []
    for count, launcher in ((1, 'none'), (2, 'pytorch')):
        out = tmp_path / f'{count}.json'
        command = ['tools/test.py', project.config, trained / 'iter_3.pth', '--launcher', launcher, '--out', out]
        command += ['--work-dir', tmp_path / f'work{count}', '--baselines']
        first, *others = run_ranks([*map(str, command)], count)
        for process in (first, *others):
            assert process.returncode == 0, process.stderr[-3000:]
            assert (process is first) == (f'wrote {out}' in process.stdout)
        results.append(json.loads(out.read_text()))
        assert not any('psnr' in process.stdout for process in others)
    one, two = results
    assert one['model'] == two['model'] and one['baselines'] == two['baselines']
    assert {'psnr', 'next/psnr', 'abs_rel'} <= set(one['model'])
