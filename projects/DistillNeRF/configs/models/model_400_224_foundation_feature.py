"""Foundation-model features at 224x400, with every second ray sample."""

_base_ = './model_foundation_feature.py'

model = dict(network=dict(sampling=dict(stride=2)))
