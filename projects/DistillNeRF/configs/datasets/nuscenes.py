"""nuScenes at the published sizes: python tools/create_data.py nuscenes --root-path data/nuscenes"""

_base_ = './views.py'

_dataset = dict(
    data_root='data/nuscenes',
    data_prefix=dict(teacher='../nuscenes_emernerf', features='../nuscenes_feat/samples_dinov2_vitb14'),
    image_size=(128, 228),
    render_size=(64, 114),
    pipeline=[
        dict(type='LoadViews'),
        dict(type='LoadLidarDepth'),
        dict(type='LoadTeacher'),
        dict(type='LoadFeatures'),
        dict(type='PackViews'),
    ],
)
train_dataloader = dict(
    num_workers=4,
    sampler=dict(type='DefaultSampler'),
    dataset=dict(ann_file='nuscenes_infos_train.pkl', load_teacher=True, training_target_smart_sample=True, **_dataset),
)
val_dataloader = dict(
    num_workers=4,
    dataset=dict(ann_file='nuscenes_infos_val.pkl', test_samples='second_of_scene', **_dataset),
)
test_dataloader = val_dataloader
