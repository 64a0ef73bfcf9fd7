"""What the loaders of every data set share; each adds its files, sizes and transforms to the three datasets."""

_loader = dict(batch_size=1, num_workers=1, persistent_workers=True)

train_dataloader = dict(
    sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=dict(type='SeededBatchSampler'),
    dataset=dict(type='DistillNeRFDataset'),
    **_loader,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='DistillNeRFDataset', add_next_frame_for_eval=True, test_mode=True),
    **_loader,
)
test_dataloader = val_dataloader
