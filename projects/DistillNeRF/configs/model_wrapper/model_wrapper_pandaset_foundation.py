"""The small network on PandaSet, rendering the features of a foundation model (docs/TEACHERS.md#foundation-models)."""

_base_ = './model_wrapper_pandaset_features.py'

# The words of a code book say nothing about these features.
model = dict(text_encoder=None)

_dataset = dict(
    load_features=True,
    data_prefix=dict(features='../pandaset_feat'),
    pipeline=[
        dict(type='LoadViews'),
        dict(type='LoadLidarDepth'),
        dict(type='SkyFromLidar', ceiling=15.0),
        dict(type='LoadFeatures'),
        dict(type='PackViews'),
    ],
)
train_dataloader = dict(dataset=_dataset)
val_dataloader = dict(dataset=_dataset)
test_dataloader = val_dataloader

val_evaluator = [dict(type='DepthMetric'), dict(type='FeatureMetric')]
test_evaluator = val_evaluator
