"""The runs of minitown_successor.py with 300 steps for 4,500: python tools/experiment.py THIS FILE --workers 2

What a part brings shows early; how far all of them get does not. `--results docs/results/minitown_levers.json` goes on
with the figures of SUCCESSOR.md. Some 12 minutes and thread a run, with its evaluation.
"""

_base_ = './minitown_successor.py'

_steps = 300
options = {
    'train_cfg.max_iters': _steps,
    'train_cfg.val_interval': _steps + 1,  # figures come from tools/test.py
    'param_scheduler.1.end': _steps,
    'param_scheduler.1.T_max': _steps - 50,
}
true_views = 2
