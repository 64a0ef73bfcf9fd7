"""What features of the source images bring on MiniTown: python tools/experiment.py THIS FILE --workers 2

Before: tools/create_data.py minitown --root-path data/minitown --scenes 40. Some 20 minutes and thread a run.
"""

config = 'projects/DistillNeRF/configs/model_wrapper/successor_minitown_features.py'
seeds = [0, 1, 2]

_steps = 600
options = {
    'train_cfg.max_iters': _steps,
    'train_cfg.val_interval': _steps,
    'param_scheduler.1.end': _steps,
    'param_scheduler.1.T_max': _steps - 50,
}
runs = {
    'features of the voxels': dict(options={'model.network.source_blend': None}),
    'and of the source images': dict(),
}

compare_with = 'features of the voxels'
evaluations = ['feature', 'query', 'depth']
true_views = 2
columns = {
    'feature PSNR, dB': 'feature/psnr',
    'next frame': 'feature/next/psnr',
    'novel views': 'true_views/feature/psnr',
    'query mIoU': 'query/miou',
    'next frame, mIoU': 'query/next/miou',
    'novel views, mIoU': 'true_views/query/miou',
    'car': 'query/iou/car',
    'pedestrian': 'query/iou/pedestrian',
    'AbsRel': 'abs_rel',
}
