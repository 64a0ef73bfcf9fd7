"""The teacher of one scene of MiniTown: choose it with scene_nerf.scene=NAME (docs/TEACHERS.md)."""

_base_ = '../models/scene_nerf.py'

_root = 'data/minitown'

scene_nerf = dict(
    ann_files=[f'{_root}/minitown_infos_train.pkl', f'{_root}/minitown_infos_val.pkl'],
    scene=None,
    roots=dict(img=_root, lidar=_root, truth=_root),
    image_size=(112, 200),
    holdout_frames=[],
    holdout_lidar_frames=[],
    own_car=dict(),
)
