"""The published network on Waymo NOTR: three cameras, 144x216 in, 72x108 rendered."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_epochs.py',
    '../datasets/waymo.py',
    '../models/model_waymo.py',
]

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
