"""What students of MiniTown learn from which teacher: python tools/experiment.py THIS FILE --workers 2

Before: tools/create_data.py minitown --root-path data/minitown --scenes 40. Students learn from the first eight scenes
and are tested on the last eight. So tools/train_teachers.py .../scene_nerf_minitown.py --out data/fields
--scenes minitown-000{1,2,3,4,5,6,7,8}, and the same with --method lidar --out data/lidar. The true teacher is what
MiniTown writes beside itself. The LiDAR teacher has no colors, so no virtual views.
"""

config = 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown.py'
seeds = [0, 1, 2]

_steps = 600
options = {
    'train_cfg.max_iters': _steps,
    'train_cfg.val_interval': _steps + 1,  # figures come from tools/test.py
    'param_scheduler.1.end': _steps,
    'param_scheduler.1.T_max': _steps - 50,
    # Eight scenes of eight keyframes.
    'train_dataloader.dataset.indices': 64,
}

_folder = 'train_dataloader.dataset.data_prefix.teacher'
_virtual = 'train_dataloader.dataset.virtual_img_target_smart_sample'
runs = {
    'none': dict(options={'train_dataloader.dataset.load_teacher': False, 'model.losses.teacher_depth': None}),
    'lidar': dict(options={_folder: '../lidar'}),
    'field': dict(options={_folder: '../fields'}),
    'field, virtual views': dict(options={_folder: '../fields', _virtual: True}),
    'truth': dict(),
    'truth, virtual views': dict(options={_virtual: True}),
}

compare_with = 'none'
evaluations = ['psnr', 'novel_view', 'depth']
true_views = 4
columns = {
    'reconstruction, dB': 'psnr',
    'next frame, dB': 'next/psnr',
    'novel views, dB': 'true_views/psnr',
    'AbsRel': 'abs_rel',
    'RMSE of log depth': 'rmse_log',
    'within 1.25': 'a1',
    'AbsRel of novel views': 'true_views/abs_rel',
}
