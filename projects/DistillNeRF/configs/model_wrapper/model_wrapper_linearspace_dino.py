"""DINOv2 features in linear space, rendered by an MLP."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_epochs.py',
    '../datasets/nuscenes.py',
    '../models/model_linearspace_foundation_feature.py',
]

_dataset = dict(dataset=dict(load_features=True, lidar_range=50.0))
train_dataloader = _dataset
val_dataloader = _dataset
test_dataloader = _dataset

# No colors are rendered, so there is no PSNR: the last checkpoint counts.
default_hooks = dict(checkpoint=dict(save_best=None))
val_evaluator = [dict(type='DepthMetric')]
test_evaluator = val_evaluator
