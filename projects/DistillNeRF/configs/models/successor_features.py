"""The successor at the published size, rendering features: what the source images show is joined with the voxels."""

_base_ = './successor.py'

model = dict(
    network=dict(head=dict(_delete_=True, type='feature', out_channels=64)),
    losses=dict(rgb=None, lpips=None, features=dict(type='RGBL1Loss', loss_weight=1.0)),
)
