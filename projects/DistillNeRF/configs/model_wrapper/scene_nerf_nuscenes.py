"""The teacher of one scene of nuScenes: choose it with scene_nerf.scene=NAME (docs/TEACHERS.md).

Convert with ``tools/create_data.py nuscenes --image-sweeps``: images between keyframes are trained on, too.
"""

_base_ = '../models/scene_nerf.py'

_root = 'data/nuscenes'

scene_nerf = dict(
    ann_files=[f'{_root}/nuscenes_infos_train.pkl', f'{_root}/nuscenes_infos_val.pkl'],
    scene=None,
    roots=dict(img=_root, lidar=_root, truth=_root),
    image_size=(256, 456),
    holdout_frames=[],
    holdout_lidar_frames=[],
    own_car=dict(CAM_BACK='own_car/nuscenes_cam_back.png'),
)
