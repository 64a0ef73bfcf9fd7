"""The small network on PandaSet, with LiDAR depth where a frame has LiDAR."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_iters.py',
    '../datasets/pandaset.py',
    '../models/small.py',
]

# The colors alone pull every surface to where a cell is as large as a pixel, some 25 m: LiDAR has to outweigh them.
model = dict(losses=dict(lidar_depth=dict(loss_weight=1.5)))

# Half an hour on two cores.
max_iters = 2400
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, T_max=max_iters - 50, eta_min_ratio=0.02),
]

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
