"""The small network on PandaSet, distilled from a teacher of the same sequences (docs/TEACHERS.md)."""

_base_ = './model_wrapper_pandaset.py'

model = dict(losses=dict(teacher_depth=dict(type='LogDepthLoss', loss_weight=1.0)))

# The teacher tells the sky, too.
_pipeline = [dict(type='LoadViews'), dict(type='LoadLidarDepth'), dict(type='LoadTeacher'), dict(type='PackViews')]
train_dataloader = dict(
    dataset=dict(load_teacher=True, data_prefix=dict(teacher='../pandaset_teacher'), pipeline=_pipeline)
)
