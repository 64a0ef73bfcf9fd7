"""The successor network on nuScenes, rendering DINOv2 features: of the keyframes; shifted views have none."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_epochs.py',
    '../datasets/nuscenes.py',
    '../models/successor_features.py',
]

# Views of other frames are in the data as published.
train_dataloader = dict(
    dataset=dict(load_features=True, pipeline=[*_base_.train_dataloader.dataset.pipeline, dict(type='FlipViews')])
)
val_dataloader = dict(dataset=dict(load_features=True))
test_dataloader = val_dataloader

# No colors are rendered, so there is no PSNR: the last checkpoint counts.
default_hooks = dict(checkpoint=dict(save_best=None))
val_evaluator = [dict(type='DepthMetric')]
test_evaluator = val_evaluator
