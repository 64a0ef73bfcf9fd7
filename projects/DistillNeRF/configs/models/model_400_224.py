"""The published network at 224x400, with every second ray sample."""

_base_ = './model.py'

model = dict(network=dict(sampling=dict(stride=2)))
