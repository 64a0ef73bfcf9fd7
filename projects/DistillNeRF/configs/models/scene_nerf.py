"""The field of one drive, its batches of rays and its schedule; entry points say which drive."""

_base_ = ['../../../../configs/_base_/default_runtime.py']

model = dict(type='SceneNeRF', cell_size=0.1, divisions=3, levels=4, reach=(24.0, 4.0, 8.0), beam_weight=0.1)

_max_iters, _constant = 3400, 1360
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='only_item'),
    dataset=dict(type='DriveRays', num_rays=8192, num_beams=2048),
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=_max_iters)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=0.1, betas=(0.9, 0.99), eps=1e-10, fused=True),
    paramwise_cfg=dict(custom_keys={'field.sky': dict(lr_mult=0.5), 'field.exposure': dict(lr_mult=0.02)}),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=_constant,
        end=_max_iters,
        T_max=_max_iters - _constant,
        eta_min_ratio=0.03,
    )
]

default_hooks = dict(
    _delete_=True,
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=_max_iters, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='ExactResumeHook'),
    dict(type='ProgressHook'),
    dict(type='DivideCells'),
    dict(type='CorrectPoses'),
]
