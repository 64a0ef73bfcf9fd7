"""A small network for two CPU cores: the published architecture, narrower, with fewer bins and samples."""

_base_ = './base.py'

_space = dict(
    inner_range=50.0,
    inner_range_z=6.4,
    contract_ratio=0.8,
    near=0.5,
    step=1.2,
    far=120.0,
)

model = dict(
    network=dict(
        space=_space,
        levels=(6, 8),
        channels=16,
        coarse=dict(width=8, channels=16, blocks=(1, 1, 1, 1), depth_channels=None),
        fine=dict(
            width=16,
            hidden=24,
            blocks=(1, 1, 1, 1),
            num_candidates=3,
            candidate_ratio=0.05,
            candidate_step=(0.1, 1.0),
        ),
        voxel=dict(width=16, num_layers=1),
        sampling=dict(fine_samples=16, fine_step=0.2),
        head=dict(type='color', width=64, num_layers=2),
        downscale=2,
        published_quirks=False,
    ),
    losses=dict(
        rgb=dict(type='RGBL1Loss', loss_weight=5.0),
        lidar_depth=dict(type='LogDepthLoss', loss_weight=0.5),
        weight_entropy=dict(type='WeightEntropyLoss', loss_weight=0.01),
        opacity=dict(type='OpacityLoss', loss_weight=0.1),
    ),
)
