"""The successor of the small network (docs/SUCCESSOR.md): colors of the source images, depth as a distribution."""

_base_ = ['./small.py', './successor_options.py']

_options = _base_._successor
model = dict(
    network=dict(
        _options,
        depth_bins=dict(number=48, near=0.5, far=120.0),
        # The pyramid of the small network is too narrow for what depth asks of it.
        coarse=dict(_options.coarse, width=24),
    ),
    losses=dict(teacher_bins=dict(type='DepthBinsLoss', loss_weight=1.0)),
)
