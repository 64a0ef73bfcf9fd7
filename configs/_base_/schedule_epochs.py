"""The published schedule: Adam, steps at epochs 30 and 60. Its end is not published; 80 epochs are ours."""

max_epochs = 80

train_cfg = dict(type='ResumableEpochLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-4, betas=(0.0, 0.99), fused=True),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60], gamma=0.1)]
