"""The published network in nearly linear space, up to 50 m."""

_base_ = './model.py'

model = dict(
    network=dict(space=dict(inner_range_z=15.0, contract_ratio=0.999, far=50.0)),
    losses=dict(lidar_depth=dict(max_depth=50.0), teacher_depth=dict(max_depth=50.0)),
)
