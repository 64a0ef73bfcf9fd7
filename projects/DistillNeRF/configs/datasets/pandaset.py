"""PandaSet: python tools/create_data.py pandaset --root-path data/pandaset --train-frames A-B --val-frames C-D.

Where the raw data lies elsewhere than the info files, give it as ``data_prefix.img``.
"""

_base_ = './views.py'

_dataset = dict(
    data_root='data/pandaset',
    data_prefix=dict(img=''),
    image_size=(64, 112),
    render_size=(32, 56),
    pipeline=[
        dict(type='LoadViews'),
        dict(type='LoadLidarDepth'),
        dict(type='SkyFromLidar', ceiling=15.0),
        dict(type='PackViews'),
    ],
)
# A frame without LiDAR of its own (most of a shortened download) is trained on that of the nearest frame.
train_dataloader = dict(dataset=dict(ann_file='pandaset_infos_train.pkl', lidar_sweeps=2, **_dataset))
val_dataloader = dict(dataset=dict(ann_file='pandaset_infos_val.pkl', **_dataset))
test_dataloader = val_dataloader
