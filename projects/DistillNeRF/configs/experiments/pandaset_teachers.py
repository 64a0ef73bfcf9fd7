"""What students of PandaSet learn from which teacher: python tools/experiment.py THIS FILE --workers 2

Before: tools/create_data.py pandaset --root-path data/pandaset --train-frames 25-59 --val-frames 60-75, and
tools/train_teachers.py .../scene_nerf_pandaset.py --out data/pandaset_teacher --size 64 112 --cfg-options
"scene_nerf.ann_files=['data/pandaset/pandaset_infos_train.pkl']" train_cfg.max_iters=3000 param_scheduler.0.end=3000
param_scheduler.0.T_max=1800 param_scheduler.0.begin=1200: a field of the frames that students are trained on, as any
other would have seen what they are tested on. It has 35 of 55 frames, so 3,000 steps are enough.
"""

config = 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_pandaset.py'

_taught = 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_pandaset_teacher.py'
runs = {
    'none': dict(),
    'field': dict(config=_taught),
    'field, virtual views': dict(
        config=_taught, options={'train_dataloader.dataset.virtual_img_target_smart_sample': True}
    ),
}

evaluations = ['psnr', 'novel_view', 'depth']
columns = {
    'reconstruction, dB': 'psnr',
    'reconstruction SSIM': 'ssim',
    'next frame, dB': 'next/psnr',
    'AbsRel': 'lidar/abs_rel',
    'within 1.25': 'lidar/a1',
}
