"""Train a config with mmengine's Runner."""

from __future__ import annotations

import contextlib
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.runner import Runner

from ..configuration.config import building
from ..configuration.contradictions import check_custom_keys, check_validation
from ..configuration.schedule import check_schedule, warn_of_late_losses
from ..configuration.switches import apply_switches, keep_unused_parameters, resume_of, seed_of, use_precision
from ..models.checkpoint import load_weights, read_checkpoint
from ..models.wrapper import NonFiniteLoss
from ..utils.errors import InputError
from ..utils.precision import AUTOCAST, allow_tf32
from .builders import build_runner, model_of, network_of, prepare
from .distributed import chosen_by_main, join, leave
from .machine import machine_failures
from .optim_wrappers import skipping
from .resuming import checkpoint_to_resume, go_on_from
from .supply import check_losses, check_metrics, warn_of_shared_samples
from .work_dir import remember_data, training_in, warn_of_earlier_run


def train(
    config: Config,
    work_dir: Path,
    seed: int | None = None,
    amp: bool = False,
    resume: str | None = None,
    launcher: str = 'none',
    precision: str | None = None,
) -> None:
    """Train as the config says.

    Args:
        config: as loaded.
        work_dir: where logs and checkpoints go.
        seed: of all random numbers; ``None`` takes that of the config's ``randomness``, or 0.
        amp: train with mixed precision: float16 on CUDA, bfloat16 elsewhere.
        resume: checkpoint to go on from, or a folder of checkpoints; ``auto`` takes that of ``work_dir``, and begins
            anew if there is none. Nothing is done if the run is finished.
        launcher: what started this process (:data:`.distributed.LAUNCHERS`).
        precision: of the forward and the backward pass (:mod:`..utils.precision`); ``None`` for that of ``amp``.

    Raises:
        InputError: bad input at any step.
    """
    config = prepare(config, work_dir, seed_of(config) if seed is None else seed)
    check_schedule(config)
    check_validation(config)
    resume = resume_of(config) if resume is None else resume
    join(config, launcher)
    with training_in(work_dir) if is_main_process() else contextlib.nullcontext():
        keep_unused_parameters(config)
        apply_switches(config)
        precision = use_precision(config, precision, amp)
        allow_tf32(precision == 'tf32')
        if resume is not None:
            # Other machines may see files of the folder later, or not at all.
            asked = resume
            resume = chosen_by_main(lambda: checkpoint_to_resume(asked, work_dir))
        elif is_main_process():
            warn_of_earlier_run(work_dir)
        if resume is None and config.get('load_from'):
            # Fine-tuning may begin with a part of the weights: the runner says which.
            read_checkpoint(config.load_from)
        if go_on_from(config, resume):
            _run(config, resume, precision)
        leave()


def _run(config: Config, resume: str | None, precision: str) -> None:
    """Build everything and train."""
    runner = build_runner(config)
    if precision not in AUTOCAST:  # with which the wrapper of the optimizer runs the forward pass
        network_of(runner).precision = precision
    if resume is not None:
        load_weights(network_of(runner), resume)
    with building(config):
        # mmengine would build the datasets later, where a wrong option looks like a bug.
        _ = runner.train_loop, runner.val_loop
        runner.optim_wrapper = runner.build_optim_wrapper(skipping(runner.optim_wrapper))
        runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
        runner.auto_scale_lr = None
        if runner.param_schedulers is not None:
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    check_custom_keys(config, runner.model)
    warn_of_late_losses(config, model_of(runner).objective.losses, runner.max_iters)
    check_supply(runner)
    remember_data(runner.train_loop.dataloader.dataset, Path(runner.work_dir), resume is not None)
    try:
        with machine_failures(config, 'train_dataloader'):
            runner.train()
    except NonFiniteLoss as error:
        raise _diverged(runner, error) from error


def check_supply(runner: Runner) -> None:
    """Check that losses and metrics of a training have data (:mod:`.supply`).

    Raises:
        InputError: one has none.
    """
    training = runner.train_loop.dataloader.dataset
    check_losses(model_of(runner).objective.losses, training)
    if runner.val_loop is not None:
        validation = runner.val_loop.dataloader.dataset
        check_metrics(runner.val_loop.evaluator.metrics, validation, 'val_evaluator', 'val_dataloader')
        warn_of_shared_samples(training, validation)


def _diverged(runner: Runner, loss: NonFiniteLoss) -> InputError:
    """Save the state before a loss that is NaN or infinite; return the error that says so.

    All processes come here together, and go on when the main one has written.
    """
    name = f'before_nan_iter_{runner.iter}.pth'
    try:
        runner.save_checkpoint(runner.work_dir, name, meta={'iter': runner.iter, 'epoch': runner.epoch})
    finally:
        barrier()
    return InputError(
        f'{runner.work_dir}: iteration {runner.iter + 1} has a loss that is NaN or infinite: {loss.losses}, on the '
        f'samples {loss.samples}; the state before it is in {name}; lower optim_wrapper.optimizer.lr or look for wrong '
        'values in the data, and go on from an earlier checkpoint with --resume'
    )
