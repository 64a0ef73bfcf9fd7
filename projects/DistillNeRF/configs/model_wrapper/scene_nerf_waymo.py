"""The teacher of one segment of Waymo: choose it with scene_nerf.scene=NAME (docs/TEACHERS.md, docs/WAYMO.md).

Convert with ``--cameras 3``: the side cameras have another shape, and students do not see them. Every frame, ten per
second, is a keyframe, so there are no images between. No camera sees the car.
"""

_base_ = '../models/scene_nerf.py'

_root = 'data/waymo'

scene_nerf = dict(
    ann_files=[f'{_root}/waymo_infos_train.pkl', f'{_root}/waymo_infos_val.pkl'],
    scene=None,
    roots=dict(img=_root, lidar=_root, truth=_root),
    image_size=(320, 480),
    holdout_frames=[],
    holdout_lidar_frames=[],
    own_car=dict(),
)
