"""The teacher of one sequence of PandaSet: choose it with scene_nerf.scene=NAME (docs/TEACHERS.md).

Where the raw data lies elsewhere than the info files, give it as ``scene_nerf.roots.img``.
"""

_base_ = '../models/scene_nerf.py'

_root = 'data/pandaset'

scene_nerf = dict(
    ann_files=[f'{_root}/pandaset_infos_train.pkl', f'{_root}/pandaset_infos_val.pkl'],
    scene=None,
    roots=dict(img=_root, lidar=_root, truth=_root),
    image_size=(270, 480),
    holdout_frames=[],
    holdout_lidar_frames=[],
    own_car=dict(back_camera='own_car/pandaset_back_camera.png'),
)
