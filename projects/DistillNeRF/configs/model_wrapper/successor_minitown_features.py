"""The successor on MiniTown, rendering features: code vectors of the true classes stand for a foundation model."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_iters.py',
    '../datasets/minitown.py',
    '../models/successor_small_features.py',
]

model = dict(losses=dict(teacher_depth=dict(type='LogDepthLoss', loss_weight=1.0)))

_loaded = [
    dict(type='LoadViews'),
    dict(type='LoadLidarDepth'),
    dict(type='LoadTeacher'),
    dict(type='LoadTruth'),
    dict(type='CodeBookFeatures'),
    dict(type='PackViews'),
]
# The training reads the truth for its class maps; no loss sees the true depth. Shifted views have no class maps.
train_dataloader = dict(
    dataset=dict(load_truth=True, training_target_smart_sample=True, pipeline=[*_loaded, dict(type='FlipViews')])
)
val_dataloader = dict(dataset=dict(load_truth=True, pipeline=_loaded))
test_dataloader = val_dataloader

# No colors are rendered, so there is no PSNR: the last checkpoint counts.
default_hooks = dict(checkpoint=dict(save_best=None))
val_evaluator = [dict(type='DepthMetric')]
test_evaluator = [*val_evaluator, dict(type='OccupancyMetric', semantics='codes')]
