"""What every model shares: its type, how many cameras it is given, and which pictures are drawn of it.

docs/VISUALIZATION.md explains the options of pictures. ``num_camera=N`` keeps the N cameras that look most to the
front, in training and evaluation.
"""

model = dict(
    type='DistillNeRFModel',
    data_preprocessor=dict(type='ViewsPreprocessor'),
    num_camera=None,
    visualize_imgs=False,
    visualize_voxels=False,
    visualize_foundation_model_feat=False,
    language_query=False,
    save_visualized_imgs=True,
    text_encoder=None,
    voxel_colors=None,
    voxel_min_density=0.5,
    vis_save_directory=None,
)
