"""Networks of MiniTown that render features, with two losses: python tools/experiment.py THIS FILE

Before: tools/create_data.py minitown --root-path data/minitown --scenes 40: 32 scenes for training, 8 for evaluation,
which are those of checkpoint/minitown_small.pth.
"""

config = 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown_features.py'

_steps = 2400
options = {
    'train_cfg.max_iters': _steps,
    'train_cfg.val_interval': _steps,
    'param_scheduler.1.end': _steps,
    'param_scheduler.1.T_max': _steps - 50,
}
_l2 = {'model.losses.features.type': 'FeatureL2Loss', 'model.losses.features.loss_weight': 200.0}
_noisy = 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown_noisy_features.py'
runs = {
    'L1': dict(),
    'L2': dict(options=_l2),
    'noisy, L1': dict(config=_noisy),
    'noisy, L2': dict(config=_noisy, options=_l2),
}

evaluations = ['feature', 'query', 'occupancy', 'depth']
true_views = 16
