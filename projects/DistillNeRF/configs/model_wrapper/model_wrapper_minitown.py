"""The small network on MiniTown, with LiDAR and teacher depth."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_iters.py',
    '../datasets/minitown.py',
    '../models/small.py',
]

model = dict(losses=dict(teacher_depth=dict(type='TeacherDepthLoss', loss_weight=2.0, max_depth=120.0)))

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
