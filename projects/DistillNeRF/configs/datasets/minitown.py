"""MiniTown: python tools/create_data.py minitown --root-path data/minitown"""

data_root = 'data/minitown'
image_size = (56, 100)
render_size = (28, 50)

pipeline = [
    dict(type='LoadViews'),
    dict(type='LoadLidarDepth', max_depth=80.0),
    dict(type='LoadTeacher'),
    dict(type='LoadTruth'),
    dict(type='PackViews'),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='DistillNeRFDataset',
        ann_file='minitown_infos_train.pkl',
        data_root=data_root,
        data_prefix=dict(teacher='../minitown_emernerf'),
        image_size=image_size,
        render_size=render_size,
        load_teacher=True,
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
        ann_file='minitown_infos_val.pkl',
        data_root=data_root,
        data_prefix=dict(teacher='../minitown_emernerf'),
        image_size=image_size,
        render_size=render_size,
        load_teacher=True,
        load_truth=True,
        add_next_frame_for_eval=True,
        test_mode=True,
        pipeline=pipeline,
    ),
)
test_dataloader = val_dataloader
