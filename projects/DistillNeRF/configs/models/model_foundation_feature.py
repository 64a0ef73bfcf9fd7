"""The published network with an MLP that renders foundation-model features instead of RGB."""

_base_ = './model.py'

model = dict(
    network=dict(head=dict(_delete_=True, type='feature', out_channels=64)),
    losses=dict(rgb=None, lpips=None, features=dict(type='RGBL1Loss', loss_weight=1.0)),
)
