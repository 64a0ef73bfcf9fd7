"""What every run shares: registration, hooks, logging."""

default_scope = 'mmdet3d'
custom_imports = dict(imports=['projects.DistillNeRF.register'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=500, max_keep_ckpts=2, save_best='psnr', rule='greater'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # These two act on options of the model (configs/models/base.py); where none is set they do nothing.
    data_for_model=dict(type='DataForModelHook'),
    first_pictures=dict(type='FirstPicturesHook'),
)
custom_hooks = [dict(type='ExactResumeHook'), dict(type='ProgressHook'), dict(type='PanelHook', interval=500)]

# Switches; each is one option on the command line, such as --cfg-options ema=True.
ema = False  # average the weights; or the momentum of the average
val_before_train = False
wandb = None  # online or offline

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_level = 'INFO'
load_from = None
resume = False
