"""What lets the successor tell depth after 35 frames of PandaSet: python tools/experiment.py THIS FILE --workers 2

Before: as for pandaset_teachers.py, with --views 0_0_0 -1_0_0 1_0_0 0_-1_0 for the field.
"""

config = 'projects/DistillNeRF/configs/model_wrapper/successor_pandaset_teacher.py'

_zoom = 'train_dataloader.dataset.pipeline.5.probability'
_focal = 'model.network.depth_bins.focal'
runs = {
    'successor': dict(),
    'without zoom': dict(options={_zoom: 0.0}),
    'the same bins for all cameras, without zoom': dict(options={_zoom: 0.0, _focal: None}),
}

evaluations = ['psnr', 'novel_view', 'depth']
columns = {
    'reconstruction, dB': 'psnr',
    'next frame, dB': 'next/psnr',
    'SSIM': 'next/ssim',
    'AbsRel': 'lidar/abs_rel',
    'within 1.25': 'lidar/a1',
    'holes': 'lidar/holes',
}
