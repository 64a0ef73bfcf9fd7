"""The small network on MiniTown, rendering features: code vectors of the true classes stand for a foundation model."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_iters.py',
    '../datasets/minitown.py',
    '../models/small.py',
]

model = dict(
    network=dict(head=dict(_delete_=True, type='feature', out_channels=64)),
    losses=dict(
        rgb=None,
        teacher_depth=dict(type='LogDepthLoss', loss_weight=1.0),
        # The numbers of a code vector are as small as an eighth.
        features=dict(type='RGBL1Loss', loss_weight=20.0),
    ),
    text_encoder='minitown_code_book',
)

_pipeline = [
    dict(type='LoadViews'),
    dict(type='LoadLidarDepth'),
    dict(type='LoadTeacher'),
    dict(type='LoadTruth'),
    dict(type='CodeBookFeatures'),
    dict(type='PackViews'),
]
# The training reads the truth for its class maps; no loss sees the true depth.
_dataset = dict(load_truth=True, pipeline=_pipeline)
train_dataloader = dict(dataset=_dataset)
val_dataloader = dict(dataset=_dataset)
test_dataloader = val_dataloader

# No colours are rendered, so there is no PSNR: the last checkpoint counts.
default_hooks = dict(checkpoint=dict(save_best=None))
val_evaluator = [dict(type='DepthMetric')]
test_evaluator = val_evaluator
