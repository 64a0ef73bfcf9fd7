"""The successor network on PandaSet, distilled from a teacher of the same sequences (docs/TEACHERS.md)."""

_base_ = './successor_pandaset.py'

# The teacher tells the sky, too, and depth on every pixel, of shifted views as well.
model = dict(
    losses=dict(
        lidar_bins=None,
        teacher_depth=dict(type='LogDepthLoss', loss_weight=1.0),
        teacher_bins=dict(_delete_=True, type='DepthBinsLoss', loss_weight=1.0),
    )
)

_pipeline = [
    dict(type='LoadViews'),
    dict(type='LoadLidarDepth'),
    dict(type='LoadTeacher'),
    dict(type='PackViews'),
    dict(type='FlipViews'),
    dict(type='ZoomViews', largest=1.6, probability=0.5),
]
train_dataloader = dict(
    dataset=dict(
        load_teacher=True,
        data_prefix=dict(teacher='../pandaset_teacher'),
        virtual_img_target_smart_sample=True,
        one_new_view_each=True,
        pipeline=_pipeline,
    )
)
