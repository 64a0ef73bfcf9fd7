"""Waymo NOTR at the published sizes, three cameras: docs/WAYMO.md. Teacher files lie beside the images."""

_base_ = './nuscenes.py'

_dataset = dict(
    data_root='data/waymo',
    data_prefix=dict(teacher='', features='../waymo_feat/samples_dinov2_vitb14'),
    image_size=(144, 216),
    render_size=(72, 108),
    num_camera=3,
)
train_dataloader = dict(dataset=dict(ann_file='waymo_infos_train.pkl', **_dataset))
val_dataloader = dict(dataset=dict(ann_file='waymo_infos_val.pkl', **_dataset))
test_dataloader = val_dataloader
