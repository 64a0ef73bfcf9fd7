"""The successor network at the published size on Waymo NOTR: teacher depth, views of other frames and shifted ones."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_epochs.py',
    '../datasets/waymo.py',
    '../models/successor.py',
]

# Views of other frames are in the data as published.
train_dataloader = dict(
    dataset=dict(
        virtual_img_target_smart_sample=True,
        enable_upward_virtual_cam=True,
        one_new_view_each=True,
        pipeline=[*_base_.train_dataloader.dataset.pipeline, dict(type='FlipViews')],
    )
)

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
