"""The successor network on MiniTown: with LiDAR and teacher depth, views of other frames and shifted ones."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_iters.py',
    '../datasets/minitown.py',
    '../models/successor_small.py',
]

model = dict(losses=dict(teacher_depth=dict(type='LogDepthLoss', loss_weight=1.0)))

train_dataloader = dict(
    dataset=dict(
        training_target_smart_sample=True,
        virtual_img_target_smart_sample=True,
        one_new_view_each=True,
        pipeline=[
            dict(type='LoadViews'),
            dict(type='LoadLidarDepth'),
            dict(type='LoadTeacher'),
            dict(type='PackViews'),
            dict(type='FlipViews'),
        ],
    )
)

# As long as model_wrapper_minitown: a step takes half as long again.
max_iters = 1000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, T_max=max_iters - 50, eta_min_ratio=0.02),
]

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
