"""The successor network on PandaSet, with LiDAR depth where a frame has LiDAR: views of other frames, no teacher."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_iters.py',
    '../datasets/pandaset.py',
    '../models/successor_small.py',
]

# LiDAR outweighs the colors, as in model_wrapper_pandaset. Its points are sparse, but each is on one surface.
model = dict(
    # The front camera has twice the focal length of the others (54 pixels at 64x112), and frames are few.
    network=dict(depth_bins=dict(focal=60 / 112)),
    losses=dict(
        lidar_depth=dict(loss_weight=1.5),
        teacher_bins=None,
        lidar_bins=dict(type='DepthBinsLoss', loss_weight=1.0),
    ),
)

train_dataloader = dict(
    dataset=dict(
        training_target_smart_sample=True,
        pipeline=[
            *_base_.train_dataloader.dataset.pipeline,
            dict(type='FlipViews'),
            dict(type='ZoomViews', largest=1.6, probability=0.5),
        ],
    )
)

# As long as model_wrapper_pandaset.
max_iters = 2400
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, T_max=max_iters - 50, eta_min_ratio=0.02),
]

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
