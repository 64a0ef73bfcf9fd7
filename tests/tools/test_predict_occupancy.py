"""tools/predict_occupancy.py writes what tools/score_occupancy.py reads."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.evaluation.occupancy.labels import read_prediction
from projects.DistillNeRF.semantics.occ3d import FREE
from tests.helpers.commands import run
from tests.helpers.grids import write_labels
from tests.helpers.refusals import assert_refused


def test_every_sample_is_predicted_and_can_be_scored(project, tmp_path):
    out, gts = tmp_path / 'out', tmp_path / 'gts'
    options = ('--lattice', 1, '--min-density', '0.3', '--dilation', 1)
    result = run('predict_occupancy', project.config, 'None', '--out', out, *options)
    assert result.code == 0, result.err
    assert 'only IoU' in result.err
    assert '1 points per axis, occupied from 0.3 per meter on, dilated by 1; classes: none' in result.out
    infos = load_infos(project.root / 'infos.pkl')[1]
    assert f'wrote {len(infos)} grids' in result.out
    for info in infos:
        grid = read_prediction(out / info['scene'] / f'{info["token"]}.npz')
        assert set(np.unique(grid)) == {0, FREE}
        write_labels(gts / info['scene'] / info['token'] / 'labels.npz', grid)
    scored = run('score_occupancy', gts, out)
    assert scored.code == 0 and f'frames: {len(infos)}' in scored.out and 'occupied or free (IoU)' in scored.out


def test_the_ego_frame_is_where_the_lidar_is_mounted(project):
    """The mount of the info file, turned round; it is told apart from none."""
    dataset = build_dataset(load_config(project.config), 'test')
    mount = np.asarray(load_infos(project.root / 'infos.pkl')[1][1]['lidar_points']['lidar2ego'])
    assert np.allclose(dataset.ego2lidar(1) @ mount, np.eye(4), atol=1e-6)
    assert not np.allclose(mount, np.eye(4), atol=0.1)


def test_settings_that_mean_nothing_are_refused(project, tmp_path):
    out = tmp_path / 'out'
    for option, value in (('--lattice', 0), ('--min-density', 0), ('--min-density', 'nan'), ('--dilation', -1)):
        refused = run('predict_occupancy', project.config, 'None', '--out', out, option, value)
        assert_refused(refused, 'give', start=option)
    refused = run('predict_occupancy', project.config, 'None', '--out', out, '--semantics', 'codes')
    assert_refused(refused, 'renders the 64 channels', 'model_wrapper_minitown_features.py', start=project.config)
    assert not out.exists()
