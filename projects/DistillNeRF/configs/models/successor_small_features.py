"""The successor of the small network, rendering features: what the source images show is joined with the voxels."""

_base_ = './successor_small.py'

model = dict(
    network=dict(head=dict(_delete_=True, type='feature', out_channels=64)),
    losses=dict(
        rgb=None,
        # Code vectors have length 1 in 64 channels: the squared error of their mean is about .01.
        features=dict(type='FeatureL2Loss', loss_weight=200.0),
    ),
    text_encoder='minitown_code_book',
)
