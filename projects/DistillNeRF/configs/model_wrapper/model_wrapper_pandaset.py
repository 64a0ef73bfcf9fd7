"""The small network on PandaSet, with LiDAR depth where a frame has LiDAR."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_iters.py',
    '../datasets/pandaset.py',
    '../models/small.py',
]

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
