"""The speed of the Waymo converter is measured on segments that it converts."""

from __future__ import annotations

from projects.DistillNeRF.datasets.infos import load_infos
from verification import waymo_throughput


def test_small_segments_are_made_and_converted(tmp_path, monkeypatch, repo_root):
    monkeypatch.chdir(repo_root)
    small = {'TOP_SHAPE': (8, 40), 'SHAPE': (6, 10), 'WIDTH': 192}
    small['HEIGHTS'] = {name: height // 10 for name, height in waymo_throughput.HEIGHTS.items()}
    for name, value in small.items():
        monkeypatch.setattr(waymo_throughput, name, value)
    cost, size, points = waymo_throughput.measure(tmp_path, frames=3, few=1, returns=2, cameras=3, kilobytes=20)
    _, infos = load_infos(tmp_path / '3/out/waymo_infos_train.pkl')
    assert len(infos) == 3 and list(infos[0]['images']) == ['FRONT_LEFT', 'FRONT', 'FRONT_RIGHT']
    lidar = (tmp_path / '3/out' / infos[0]['lidar_points']['lidar_path']).stat().st_size
    assert points == lidar / 4 / infos[0]['lidar_points']['num_pts_feats']
    [raw] = (tmp_path / '3/raw').iterdir()
    assert size == raw.stat().st_size / 3
    assert cost.memory > 2**26
