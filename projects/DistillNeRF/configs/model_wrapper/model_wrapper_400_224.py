"""224x400 in, 112x200 rendered, every second ray sample."""

_base_ = [
    '../../../../configs/_base_/default_runtime.py',
    '../../../../configs/_base_/schedule_epochs.py',
    '../datasets/nuscenes.py',
    '../models/model_400_224.py',
]

_dataset = dict(dataset=dict(image_size=(224, 400), render_size=(112, 200)))
train_dataloader = _dataset
val_dataloader = _dataset
test_dataloader = _dataset

val_evaluator = [dict(type='ImageMetric'), dict(type='DepthMetric')]
test_evaluator = val_evaluator
