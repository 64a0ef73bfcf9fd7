"""The published network: parameterized space, 128x228 in, 64x114 rendered, with the teacher's depth."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_epochs.py',
    '../datasets/nuscenes.py',
    '../models/model.py',
]

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
