"""The successor network on MiniTown, which also sees the keyframe before, and compares depths by a plane sweep."""

_base_ = './successor_minitown.py'

model = dict(network=dict(num_past=1, source_blend=dict(past=True), plane_sweep=dict(count=2)))

# First keyframes have no past: without samples like them, the network relies on it and is worse than without a sweep.
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadViews'),
            dict(type='LoadLidarDepth'),
            dict(type='LoadTeacher'),
            dict(type='PackViews'),
            dict(type='FlipViews'),
            dict(type='DropPast', probability=0.3),
        ],
    )
)
