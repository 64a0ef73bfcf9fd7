"""The successor network on nuScenes, rendering CLIP features: the DINOv2 configuration with other files."""

_base_ = './successor_nuscenes_dino.py'

_dataset = dict(dataset=dict(data_prefix=dict(features='../nuscenes_feat/samples_clip_vitl14_336')))
train_dataloader = _dataset
val_dataloader = _dataset
test_dataloader = _dataset

# For language queries; tools/get_weights.py fetches the model.
model = dict(
    text_encoder=dict(
        _delete_=True,
        model='aux_models/clip/clip-vit-large-patch14-336',
        reduction='aux_models/clip/clip_reduction_pca.npz',
    )
)
