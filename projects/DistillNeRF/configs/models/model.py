"""The published network, ``model``: parameterized space, RGB, 128x228 in, 64x114 rendered."""

_base_ = './base.py'

_space = dict(
    inner_range=50.0,
    inner_range_z=6.4,
    contract_ratio=0.8,
    near=0.1,
    step=0.2,
    outer_step=1.0,
    far=120.0,
)

model = dict(
    network=dict(
        space=_space,
        levels=(7, 9),
        channels=32,
        coarse=dict(width=64, channels=64, blocks=(2, 3, 5, 5), depth_channels=128),
        fine=dict(
            width=16,
            hidden=32,
            blocks=(2, 3, 5, 5),
            num_candidates=15,
            first_candidate=-8,
            candidate_ratio=0.025,
            candidate_step=(0.05, 0.3),
        ),
        voxel=dict(width=128, num_layers=2),
        sampling=dict(stride=1, fine_samples=30, fine_step=0.1),
        head=dict(type='color', width=160, num_layers=4, num_upsample=1),
        downscale=2,
        jitter=True,
        published_quirks=True,
        depth_weights='aux_models/depth_anything_vitb14.pth',
    ),
    losses=dict(
        rgb=dict(type='RGBL1Loss', loss_weight=1.0),
        lpips=dict(type='LPIPSLoss', loss_weight=1.0, weights='aux_models/lpips_vgg.pth'),
        lidar_depth=dict(type='DepthClampLoss', loss_weight=10.0, max_depth=80.0),
        teacher_depth=dict(type='TeacherDepthLoss', loss_weight=10.0, max_depth=120.0, inner_range=50.0),
        weight_entropy=dict(type='WeightEntropyLoss', loss_weight=0.01),
        opacity=dict(type='OpacityLoss', loss_weight=0.1),
    ),
)
