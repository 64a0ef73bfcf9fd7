"""The successor network on MiniTown: colors from the source images, with LiDAR and teacher depth."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_iters.py',
    '../datasets/minitown.py',
    '../models/successor_small.py',
]

model = dict(losses=dict(teacher_depth=dict(type='LogDepthLoss', loss_weight=1.0)))

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
