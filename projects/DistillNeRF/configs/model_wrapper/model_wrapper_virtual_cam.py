"""With virtual views of the teacher (1 m left, right, up) as targets, one per camera and step."""

_base_ = './model_wrapper.py'

train_dataloader = dict(dataset=dict(virtual_img_target_smart_sample=True, enable_upward_virtual_cam=True))
