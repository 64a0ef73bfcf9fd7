"""The thread that does the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from projects.DistillNeRF.engine.view import leave_a_core
from projects.DistillNeRF.visualization.viewer.worker import Worker

SOON = 10.0


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


class Steps:
    """A job of given steps that goes on only when it is let, and tells what it did."""

    def __init__(self, log: list, name: str, *steps: bool | None) -> None:
        self.log, self.name, self.steps = log, name, steps
        self.begun, self.go, self.done = threading.Event(), threading.Event(), threading.Event()

    def job(self) -> Iterator[bool | None]:
        try:
            for step in self.steps:
                self.begun.set()
                assert self.go.wait(SOON)
                self.log.append((self.name, step))
                yield step
            self.log.append((self.name, 'end'))
        finally:
            self.done.set()


def free(*args) -> Steps:
    steps = Steps(*args)
    steps.go.set()
    return steps


def test_a_newer_job_replaces_the_old_one_once_that_has_shown_something(worker):
    log: list = []
    old, new = Steps(log, 'old', None, None, True, None, None, True), free(log, 'new', None, True)
    worker.submit('view', old.job())
    assert old.begun.wait(SOON)
    worker.submit('view', new.job())
    old.go.set()
    assert new.done.wait(SOON)
    # The first picture of the old view came, its finer one did not.
    assert log == [('old', None), ('old', None), ('old', True), ('new', None), ('new', True), ('new', 'end')]
    assert old.done.wait(SOON)


def test_of_many_requests_only_the_newest_is_met(worker):
    log: list = []
    first, *others = [Steps(log, 'first', True)] + [free(log, str(i), True) for i in range(5)]
    worker.submit('view', first.job())
    assert first.begun.wait(SOON)
    for other in others:
        worker.submit('view', other.job())
    first.go.set()
    assert others[-1].done.wait(SOON)
    assert {name for name, _ in log} == {'first', '4'}


def test_keys_take_turns(worker):
    log: list = []
    gate, one, other = Steps(log, 'gate', None), free(log, 'one', *[True] * 4), free(log, 'other', *[True] * 4)
    worker.submit('gate', gate.job())
    assert gate.begun.wait(SOON)
    worker.submit('one', one.job())
    worker.submit('other', other.job())
    gate.go.set()
    assert one.done.wait(SOON) and other.done.wait(SOON)
    names = [name for name, step in log if step is True]
    assert names == ['one', 'other'] * 4


def test_a_job_that_is_forgotten_ends(worker):
    log: list = []
    steps = Steps(log, 'forgotten', True, True)
    worker.submit('view', steps.job())
    assert steps.begun.wait(SOON)
    worker.forget('view')
    steps.go.set()
    assert steps.done.wait(SOON)
    assert log == [('forgotten', True)]


def test_a_bug_in_one_job_is_told_and_does_not_end_the_thread(worker, capsys):
    def broken() -> Iterator[bool]:
        yield True
        raise RuntimeError('a bug of the test')

    log: list = []
    after = free(log, 'after', True)
    worker.submit('view', broken())
    worker.submit('other', after.job())
    assert after.done.wait(SOON)
    worker.submit('view', (again := free(log, 'again', True)).job())
    assert again.done.wait(SOON)
    assert 'a bug of the test' in capsys.readouterr().err


def in_the_worker(worker: Worker, question: Callable[[], object]) -> object:
    """What a function returns there."""
    answers: list = []
    done = threading.Event()

    def job() -> Iterator[None]:
        answers.append(question())
        done.set()
        yield

    worker.submit('question', job())
    assert done.wait(SOON)
    return answers[0]


def test_nothing_keeps_gradients(worker):
    assert in_the_worker(worker, torch.is_grad_enabled) is False
    assert torch.is_grad_enabled()


def test_a_core_is_left_to_the_browser(monkeypatch):
    before = torch.get_num_threads()
    try:
        for usual, left in ((4, 3), (2, 1), (1, 1)):
            torch.set_num_threads(usual)
            monkeypatch.setenv('OMP_NUM_THREADS', str(usual))
            leave_a_core()
            assert torch.get_num_threads() == usual
            monkeypatch.delenv('OMP_NUM_THREADS')
            leave_a_core()
            worker = Worker()
            assert in_the_worker(worker, torch.get_num_threads) == left
            worker.close()
    finally:
        torch.set_num_threads(before)
