"""What each part of the successor brings on MiniTown: python tools/experiment.py THIS FILE --workers 2

Before: tools/create_data.py minitown --root-path data/minitown --scenes 40: 32 scenes for training, 8 for evaluation,
which are those of checkpoint/minitown_small.pth, trained for as many steps. A second and a thread for each step.
"""

config = 'projects/DistillNeRF/configs/model_wrapper/successor_minitown.py'
seeds = [0, 1, 2]

_steps = 4500
options = {
    'train_cfg.max_iters': _steps,
    'train_cfg.val_interval': _steps,
    'param_scheduler.1.end': _steps,
    'param_scheduler.1.T_max': _steps - 50,
}

_small = 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown.py'
_with_past = 'projects/DistillNeRF/configs/model_wrapper/successor_minitown_past.py'
_dataset = 'train_dataloader.dataset'
_network = 'model.network'
_past = {f'{_network}.num_past': 1, f'{_network}.source_blend.past': True}
runs = {
    'small network': dict(config=_small, options={f'{_dataset}.virtual_img_target_smart_sample': True}),
    'successor': dict(),
    'without source images': dict(options={f'{_network}.source_blend': None}),
    'depth of densities': dict(
        options={
            f'{_network}.depth_bins': None,
            f'{_network}.coarse.distribution': 'density',
            'model.losses.teacher_bins': None,
        }
    ),
    'narrow depth net': dict(options={f'{_network}.coarse.width': 8}),
    'surfaces with holes': dict(options={f'{_network}.rows_per_pixel': 1, f'{_network}.sampling.mean_density': False}),
    'shifted views alone': dict(
        options={f'{_dataset}.training_target_smart_sample': False, f'{_dataset}.one_new_view_each': False}
    ),
    'without flips': dict(options={f'{_dataset}.pipeline.4.probability': 0.0}),
    'one past glance': dict(options=_past),
    'one past glance, plane sweep': dict(options={**_past, f'{_network}.plane_sweep.count': 2}),
    # The same, and three samples of ten are left without the past.
    'plane sweep, past dropped': dict(config=_with_past),
    # The camera behind has a focal length of .5 widths of its image, the others of .79.
    'bins follow the focal length': dict(options={f'{_network}.depth_bins.focal': 0.79}),
}

compare_with = 'successor'
evaluations = ['psnr', 'novel_view', 'depth']
true_views = 16
columns = {
    'reconstruction, dB': 'psnr',
    'next frame, dB': 'next/psnr',
    'novel views, dB': 'true_views/psnr',
    'their SSIM': 'true_views/ssim',
    'AbsRel': 'abs_rel',
    'holes': 'holes',
    'holes, next frame': 'next/holes',
}
