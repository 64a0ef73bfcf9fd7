"""Train the field of one drive (:mod:`..scene_nerf`)."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from ..configuration.config import building
from ..configuration.switches import resume_of, seed_of
from ..models.wrapper import unwrap
from ..scene_nerf.identity import check_identity
from ..scene_nerf.model import describe, load_field
from ..scene_nerf.numbers import check_number
from ..scene_nerf.settings import SECTION
from ..utils.errors import InputError, warn
from .builders import build_runner, prepare
from .optim_wrappers import skipping
from .resuming import checkpoint_to_resume, go_on_from
from .work_dir import training_in, warn_of_earlier_run


def train_field(config: Config, work_dir: Path, seed: int | None = None, resume: str | None = None) -> None:
    """Train the field that a config describes.

    Args:
        config: as loaded, with a section ``scene_nerf``.
        work_dir: where logs and checkpoints go.
        seed: of all random numbers; ``None`` takes that of the config's ``randomness``, or 0.
        resume: checkpoint to go on from, or ``auto``. Nothing is done if the run is finished.

    Raises:
        InputError: bad input at any step.
    """
    seed = seed_of(config) if seed is None else seed
    check_number('train_cfg.max_iters', config.train_cfg.get('max_iters'), least=1, whole=True)
    config = prepare(config, work_dir, seed)
    config.train_dataloader.dataset.update(
        {SECTION: config[SECTION], 'seed': seed, 'num_batches': config.train_cfg.max_iters}
    )
    resume = resume_of(config) if resume is None else resume
    with training_in(work_dir):
        if resume is None:
            if config.get('load_from'):
                raise InputError(
                    f'load_from={config.load_from}: a field begins with its own cells; give --resume instead'
                )
            warn_of_earlier_run(work_dir)
        else:
            resume = checkpoint_to_resume(resume, work_dir)
        if go_on_from(config, resume):
            _run(config, resume)


def _run(config: Config, resume: str | None) -> None:
    """Build everything and train."""
    runner = build_runner(config)
    with building(config):
        data = runner.train_loop.dataloader.dataset
        model = unwrap(runner.model)
        for lack in data.lacks:
            warn(f'scene {data.drive.scene}: {lack}')
        if resume is None:
            model.prepare(data)
        else:
            # The optimizer has to know the cells of the checkpoint before its own state is loaded.
            load_field(model, resume)
            where = str(config.filename)
            check_identity(model.drive, len(model.field.exposure), data.drive.scene, data.images, resume, where)
            model.learn_of(data)
        runner.optim_wrapper = runner.build_optim_wrapper(skipping(runner.optim_wrapper))
        if runner.param_schedulers is not None:
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.logger.info(describe(model.field))
    runner.train()
