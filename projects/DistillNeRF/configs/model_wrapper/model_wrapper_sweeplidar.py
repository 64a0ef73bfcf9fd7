"""LiDAR depth from ten sweeps."""

_base_ = './model_wrapper.py'

_dataset = dict(dataset=dict(lidar_sweeps=10))
train_dataloader = _dataset
val_dataloader = _dataset
test_dataloader = _dataset
