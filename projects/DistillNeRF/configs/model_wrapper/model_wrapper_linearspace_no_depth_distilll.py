"""Linear space without the teacher's depth. (The three l's are the published name.)"""

_base_ = './model_wrapper_linearspace.py'

model = dict(losses=dict(teacher_depth=None))
_dataset = dict(dataset=dict(load_teacher=False))
train_dataloader = _dataset
val_dataloader = _dataset
test_dataloader = _dataset
