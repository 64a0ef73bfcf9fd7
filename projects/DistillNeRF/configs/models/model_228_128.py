"""The published network rendered at the full 128x228, without enlargement, with every second ray sample."""

_base_ = './model.py'

model = dict(network=dict(sampling=dict(stride=2), head=dict(num_upsample=0), downscale=1))
