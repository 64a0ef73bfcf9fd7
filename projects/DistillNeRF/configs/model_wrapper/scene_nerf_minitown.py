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

# Small images need few steps; shares of the schedule are those of the base.
_max_iters, _constant = 1600, 640
train_dataloader = dict(dataset=dict(num_rays=4096))
train_cfg = dict(max_iters=_max_iters)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=_constant,
        end=_max_iters,
        T_max=_max_iters - _constant,
        eta_min_ratio=0.03,
    )
]
default_hooks = dict(checkpoint=dict(interval=_max_iters))
