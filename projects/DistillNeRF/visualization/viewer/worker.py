"""One thread that does all heavy work, so that neither the page nor its connection ever waits for it."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import torch

# A job does a little work at every step. It yields True when it has shown something.
Job = Iterator[bool | None]


@dataclass
class _Slot:
    """The work of one key: the job that runs, and the newest one that waits for it."""

    running: Job | None = None
    waiting: Job | None = None
    shown: bool = False


class Worker:
    """Run jobs step by step, keys in turn.

    Every key has one job. A newer one takes its place as soon as the old one has shown something: a camera that moves
    all the time is shown at least coarsely, and never waits for a fine picture of where it was.
    """

    def __init__(self) -> None:
        self._slots: dict[Hashable, _Slot] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name='viewer worker', daemon=True)
        self._thread.start()

    def submit(self, key: Hashable, job: Job) -> None:
        """Run ``job`` instead of the earlier job of this key."""
        with self._changed:
            self._slots.setdefault(key, _Slot()).waiting = job
            self._changed.notify()

    def forget(self, key: Hashable) -> None:
        """Drop the jobs of this key."""
        with self._changed:
            self._slots.pop(key, None)

    def close(self) -> None:
        """End the thread after its present step."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        # Both are settings of a thread.
        torch.set_grad_enabled(False)
        torch.set_flush_denormal(True)
        while self._step():
            pass

    def _step(self) -> bool:
        """Do one step of one job, of which nothing is kept afterward; return False at the end."""
        turn = self._next()
        if turn is None:
            return False
        key, slot = turn
        try:
            slot.shown |= bool(next(slot.running))
        except StopIteration:
            self._finished(key, slot)
        except Exception:  # a bug in one job must not end the service for all
            traceback.print_exc()
            self._finished(key, slot)
        return True

    def _next(self) -> tuple[Hashable, _Slot] | None:
        """Wait for work, and return the key and slot whose turn it is; ``None`` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._slots or self._closed)
            if self._closed:
                return None
            key, slot = next(iter(self._slots.items()))
            self._slots[key] = self._slots.pop(key)
            if slot.waiting is not None and (slot.running is None or slot.shown):
                slot.running, slot.waiting, slot.shown = slot.waiting, None, False
            return key, slot

    def _finished(self, key: Hashable, slot: _Slot) -> None:
        with self._changed:
            slot.running = None
            if slot.waiting is None and self._slots.get(key) is slot:
                del self._slots[key]
