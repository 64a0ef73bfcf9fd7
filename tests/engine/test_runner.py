"""What the runner keeps in checkpoints, and how it names them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from projects.DistillNeRF.engine.loops import ResumableEpochLoop
from projects.DistillNeRF.engine.runner import (
    PENDING_GRADIENTS,
    BFloat16OptimWrapper,
    ExactResumeHook,
    WholeCheckpointRunner,
)


def runner(count: int | None = None, resume: bool = True, **place: int) -> SimpleNamespace:
    """A runner of two weights that accumulates the gradients of ``count`` iterations."""
    model = torch.nn.Linear(2, 1)
    wrapper = SimpleNamespace() if count is None else SimpleNamespace(_accumulative_counts=count)
    where = {'seed': 3, 'iter': 0, 'rank': 0, 'world_size': 1} | place
    return SimpleNamespace(model=model, optim_wrapper=wrapper, _resume=resume, **where)


@pytest.mark.parametrize(
    ('count', 'iteration', 'waits'),
    [(None, 0, False), (1, 5, False), (2, 0, True), (2, 1, False), (3, 3, True), (3, 5, False)],
)
def test_gradients_are_kept_while_they_wait_to_be_accumulated(count, iteration, waits):
    made = runner(count, iter=iteration)
    made.model.weight.grad = torch.tensor([[1.0, 2.0]])
    checkpoint: dict = {}
    ExactResumeHook().before_save_checkpoint(made, checkpoint)
    kept = checkpoint[PENDING_GRADIENTS]
    # The bias has none.
    assert list(kept) == (['weight'] if waits else [])
    if waits:
        made.model.weight.grad.zero_()
        assert kept['weight'].tolist() == [[1, 2]], 'a copy'


def test_gradients_come_back_once_after_a_resume():
    hook, made = ExactResumeHook(), runner()
    hook.after_load_checkpoint(made, {PENDING_GRADIENTS: {'weight': torch.tensor([[1.0, 2.0]])}})
    hook.before_train_iter(made, 0)
    assert made.model.weight.grad.tolist() == [[1, 2]] and made.model.bias.grad is None
    made.model.weight.grad = None
    hook.before_train_iter(made, 1)
    assert made.model.weight.grad is None
    # Weights alone are loaded without them.
    fresh = runner(resume=False)
    hook.after_load_checkpoint(fresh, {PENDING_GRADIENTS: {'weight': torch.tensor([[1.0, 2.0]])}})
    hook.before_train_iter(fresh, 0)
    assert fresh.model.weight.grad is None
    hook.after_load_checkpoint(made, {})


@pytest.mark.parametrize(('iteration', 'rank', 'world_size', 'seed'), [(0, 0, 1, 3), (5, 0, 1, 8), (5, 1, 2, 14)])
def test_every_iteration_is_seeded_by_its_number(iteration, rank, world_size, seed):
    ExactResumeHook().before_train_iter(runner(iter=iteration, rank=rank, world_size=world_size), 0)
    drawn = torch.rand(3)
    torch.manual_seed(seed)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize('main_process', [True, False])
def test_a_checkpoint_gets_its_name_when_it_is_whole(monkeypatch, tmp_path, main_process):
    seen: list[str] = []

    def save(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        seen.append(filename)
        if main_process:
            (Path(out_dir) / filename).write_text('whole')
        assert not (tmp_path / 'iter_1.pth').exists()

    monkeypatch.setattr(Runner, 'save_checkpoint', save)
    WholeCheckpointRunner.save_checkpoint(object.__new__(WholeCheckpointRunner), str(tmp_path), 'iter_1.pth')
    assert seen and seen[0] != 'iter_1.pth' and not seen[0].startswith('iter_')
    assert [path.name for path in tmp_path.iterdir()] == (['iter_1.pth'] if main_process else [])


@pytest.mark.parametrize(
    ('epoch', 'iteration', 'trained'), [(0, 0, 'abc'), (0, 2, 'c'), (2, 6, 'abc'), (2, 7, 'bc'), (1, 6, '')]
)
def test_samples_that_were_trained_on_are_skipped(epoch, iteration, trained):
    said: list[str] = []
    loop = object.__new__(ResumableEpochLoop)
    model = SimpleNamespace(train=lambda: said.append('train'))
    loop._runner = SimpleNamespace(call_hook=said.append, model=model)
    loop.dataloader, loop._epoch, loop._iter = list('abc'), epoch, iteration
    ran: list[tuple[int, str]] = []
    loop.run_iter = lambda index, batch: ran.append((index, batch))
    loop.run_epoch()
    assert ran == [('abc'.index(batch), batch) for batch in trained]
    assert said == ['before_train_epoch', 'train', 'after_train_epoch'] and loop._epoch == epoch + 1


def test_the_forward_pass_alone_is_in_half_precision():
    model = torch.nn.Linear(2, 2)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    assert isinstance(wrapper, OptimWrapper)
    with wrapper.optim_context(model):
        assert model(torch.ones(1, 2)).dtype == torch.bfloat16
    assert model(torch.ones(1, 2)).dtype == torch.float32
    assert model.weight.dtype == torch.float32


@pytest.mark.parametrize('there', [True, False])
def test_memory_is_pinned_where_there_is_a_gpu_unless_the_config_says_otherwise(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: there)
    monkeypatch.setattr(Runner, 'build_dataloader', staticmethod(lambda loader, *_, **__: loader))
    given = {'batch_size': 1}
    assert WholeCheckpointRunner.build_dataloader(given, seed=1) == given | ({'pin_memory': True} if there else {})
    assert WholeCheckpointRunner.build_dataloader({'pin_memory': False}, seed=1) == {'pin_memory': False}
    assert given == {'batch_size': 1}, 'the config that a run leaves behind says nothing of it'
