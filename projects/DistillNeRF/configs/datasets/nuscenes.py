"""nuScenes at the published sizes: python tools/create_data.py nuscenes --root-path data/nuscenes"""

data_root = 'data/nuscenes'
image_size = (128, 228)
render_size = (64, 114)

pipeline = [
    dict(type='LoadViews'),
    dict(type='LoadLidarDepth', max_depth=80.0),
    dict(type='LoadTeacher'),
    dict(type='PackViews'),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='DistillNeRFDataset',
        ann_file='nuscenes_infos_train.pkl',
        data_root=data_root,
        data_prefix=dict(teacher='../nuscenes_emernerf'),
        image_size=image_size,
        render_size=render_size,
        load_teacher=True,
        training_target_smart_sample=True,
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='DistillNeRFDataset',
        ann_file='nuscenes_infos_val.pkl',
        data_root=data_root,
        image_size=image_size,
        render_size=render_size,
        test_samples='second_of_scene',
        add_next_frame_for_eval=True,
        test_mode=True,
        pipeline=pipeline,
    ),
)
test_dataloader = val_dataloader
