"""The small network on PandaSet, rendering features: code vectors of the classes of LiDAR points, and of the sky."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_iters.py',
    '../datasets/pandaset.py',
    '../models/small_features.py',
]

model = dict(losses=dict(lidar_depth=dict(loss_weight=1.5)))

_pipeline = [
    dict(type='LoadViews'),
    dict(type='LoadLidarDepth', with_classes=True),
    dict(type='SkyFromLidar', ceiling=15.0),
    dict(type='LidarCodeBookFeatures'),
    dict(type='PackViews'),
]
train_dataloader = dict(dataset=dict(pipeline=_pipeline))

# No colors are rendered, so there is no PSNR: the last checkpoint counts.
default_hooks = dict(checkpoint=dict(save_best=None))
val_evaluator = [dict(type='DepthMetric')]
test_evaluator = val_evaluator
