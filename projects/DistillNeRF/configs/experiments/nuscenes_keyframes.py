"""The successor and the small network on four real keyframes: python tools/experiment.py THIS FILE

Before: python -m verification.nuscenes_keyframes SOURCE --out data/keyframes: three keyframes of nuScenes for training,
and one of which nothing is trained on. There is neither LiDAR nor a teacher; in place of LiDAR stand points that the
images tell, or nothing ('colors alone').
"""

config = 'projects/DistillNeRF/configs/model_wrapper/successor_pandaset.py'
_small = 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_pandaset.py'

_steps = 100
_dataset = 'train_dataloader.dataset'
options = {
    'data_root': 'data/keyframes',
    f'{_dataset}.ann_file': 'nuscenes_infos_train.pkl',
    'test_dataloader.dataset.ann_file': 'nuscenes_infos_val.pkl',
    # Given the third keyframe, asked for it and for the fourth.
    'test_dataloader.dataset.indices': [1],
    f'{_dataset}.lidar_sweeps': 1,
    f'{_dataset}.training_target_smart_sample': True,
    # Points of images tell no sky.
    f'{_dataset}.pipeline.2.ceiling': -90.0,
    'train_cfg.max_iters': _steps,
    'val_dataloader': None,
    'val_cfg': None,
    'val_evaluator': None,
    'default_hooks.checkpoint.save_best': None,
}
_colors = {f'{_dataset}.load_lidar': False, 'model.losses.lidar_depth': None}

runs = {
    'small network': dict(config=_small),
    'successor': dict(),
    'small network, from MiniTown': dict(config=_small, options={'load_from': 'checkpoint/minitown_small.pth'}),
    'successor, from MiniTown': dict(options={'load_from': 'checkpoint/minitown.pth'}),
    'successor, plane sweep': dict(
        options={
            'model.network.num_past': 1,
            'model.network.source_blend.past': True,
            'model.network.plane_sweep.count': 2,
        }
    ),
    'small network, colors alone': dict(config=_small, options=_colors),
    'successor, colors alone': dict(options={**_colors, 'model.losses.lidar_bins': None}),
}

evaluations = ['psnr', 'novel_view', 'depth']
columns = {
    'third keyframe, dB': 'psnr',
    'next frame, dB': 'next/psnr',
    'its SSIM': 'next/ssim',
    'AbsRel': 'lidar/abs_rel',
    'AbsRel, next frame': 'next/lidar/abs_rel',
}
