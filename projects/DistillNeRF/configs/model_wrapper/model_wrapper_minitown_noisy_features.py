"""The small network on MiniTown with features as a foundation model makes them: a patch of 8 pixels each, and noisy.

They are the class codes of ``model_wrapper_minitown_features.py``, averaged over patches, blurred, with noise that is
half as large as they are. Queries are compared with the true classes.
"""

_base_ = './model_wrapper_minitown_features.py'

_pipeline = [
    dict(type='LoadViews'),
    dict(type='LoadLidarDepth'),
    dict(type='LoadTeacher'),
    dict(type='LoadTruth'),
    dict(type='CodeBookFeatures', patch=8, blur=0.7, noise=0.5),
    dict(type='PackViews'),
]
train_dataloader = dict(dataset=dict(pipeline=_pipeline))
val_dataloader = train_dataloader
test_dataloader = train_dataloader
