"""MiniTown: python tools/create_data.py minitown --root-path data/minitown"""

_base_ = './views.py'

_dataset = dict(
    data_root='data/minitown',
    data_prefix=dict(teacher='../minitown_emernerf'),
    image_size=(56, 100),
    render_size=(28, 50),
    load_teacher=True,
    pipeline=[
        dict(type='LoadViews'),
        dict(type='LoadLidarDepth'),
        dict(type='LoadTeacher'),
        dict(type='LoadTruth'),
        dict(type='PackViews'),
    ],
)
train_dataloader = dict(dataset=dict(ann_file='minitown_infos_train.pkl', **_dataset))
val_dataloader = dict(dataset=dict(ann_file='minitown_infos_val.pkl', load_truth=True, gts='gts', **_dataset))
test_dataloader = val_dataloader
