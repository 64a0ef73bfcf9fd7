"""The small network, rendering features: code vectors of classes stand for those of a foundation model."""

_base_ = './small.py'

model = dict(
    network=dict(head=dict(_delete_=True, type='feature', out_channels=64)),
    losses=dict(
        rgb=None,
        # The numbers of a code vector are as small as an eighth.
        features=dict(type='RGBL1Loss', loss_weight=20.0),
    ),
    text_encoder='minitown_code_book',
)
