"""Linear space with virtual views of the teacher as targets."""

_base_ = './model_wrapper_linearspace.py'

train_dataloader = dict(dataset=dict(virtual_img_target_smart_sample=True, enable_upward_virtual_cam=True))
