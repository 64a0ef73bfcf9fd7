"""PandaSet: python tools/create_data.py pandaset --root-path data/pandaset --train-frames A-B --val-frames C-D.

Where the raw data lies elsewhere than the info files, give it as ``data_prefix.img``.
"""

data_root = 'data/pandaset'
image_size = (64, 112)
render_size = (32, 56)

pipeline = [
    dict(type='LoadViews'),
    dict(type='LoadLidarDepth', max_depth=80.0),
    dict(type='PackViews'),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='DistillNeRFDataset',
        ann_file='pandaset_infos_train.pkl',
        data_root=data_root,
        data_prefix=dict(img=''),
        image_size=image_size,
        render_size=render_size,
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='DistillNeRFDataset',
        ann_file='pandaset_infos_val.pkl',
        data_root=data_root,
        data_prefix=dict(img=''),
        image_size=image_size,
        render_size=render_size,
        add_next_frame_for_eval=True,
        test_mode=True,
        pipeline=pipeline,
    ),
)
test_dataloader = val_dataloader
