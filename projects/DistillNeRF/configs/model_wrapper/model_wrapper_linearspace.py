"""The published network in nearly linear space, up to 50 m, LiDAR up to 50 m."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_epochs.py',
    '../datasets/nuscenes.py',
    '../models/model_linearspace.py',
]

_dataset = dict(dataset=dict(lidar_range=50.0))
train_dataloader = _dataset
val_dataloader = _dataset
test_dataloader = _dataset

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
