"""The functions below the registered classes need no mm* package."""

from __future__ import annotations

import subprocess
import sys

PLAIN = [
    'losses.density',
    'losses.depth',
    'losses.image',
    'losses.subjects',
    'evaluation.baselines',
    'evaluation.depth',
    'evaluation.features',
    'evaluation.image',
    'evaluation.occupancy.baselines',
    'evaluation.occupancy.confusion',
    'evaluation.occupancy.counts',
    'evaluation.occupancy.from_scene',
    'evaluation.occupancy.label_maps',
    'evaluation.occupancy.labels',
    'evaluation.occupancy.lattice_rows',
    'evaluation.occupancy.ray_iou',
    'evaluation.occupancy.scene_voxels',
    'evaluation.occupancy.voxel_classes',
    'evaluation.paper',
    'evaluation.parts',
    'evaluation.recoloring',
    'evaluation.report',
    'geometry.trajectories',
    'visualization.panels',
    'visualization.video',
]
BLOCK_MM = "import sys; sys.modules.update(dict.fromkeys(('mmengine', 'mmcv', 'mmdet', 'mmdet3d')))\n"


def test_plain_functions_import_without_mm_packages(repo_root):
    imports = '\n'.join(f'import projects.DistillNeRF.{name}' for name in PLAIN)
    done = subprocess.run([sys.executable, '-c', BLOCK_MM + imports], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
