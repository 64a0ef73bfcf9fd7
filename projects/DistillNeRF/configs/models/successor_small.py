"""The successor of the small network (docs/SUCCESSOR.md): colors of the source images, depth as a distribution."""

_base_ = './small.py'

model = dict(
    network=dict(
        depth_bins=dict(number=48, near=0.5, far=120.0),
        coarse=dict(width=24, distribution='softmax'),
        # Without these two, rays pass through far surfaces.
        rows_per_pixel=3,
        sampling=dict(mean_density=True),
        source_blend=dict(count=2, channels=24),
    ),
    losses=dict(teacher_bins=dict(type='DepthBinsLoss', loss_weight=1.0)),
)
