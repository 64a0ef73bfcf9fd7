"""A network of MiniTown that renders features: python tools/experiment.py THIS FILE

Before: tools/create_data.py minitown --root-path data/minitown --scenes 40: 32 scenes for training, 8 for evaluation,
which are those of checkpoint/minitown.pth.
"""

config = 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown_features.py'

_steps = 3000
options = {
    'train_cfg.max_iters': _steps,
    'train_cfg.val_interval': _steps,
    'param_scheduler.1.end': _steps,
    'param_scheduler.1.T_max': _steps - 50,
}
runs = {'features': dict()}

evaluations = ['feature', 'query', 'occupancy', 'depth']
true_views = 16
