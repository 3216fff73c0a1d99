"""Numbered things made by several threads, group by group, in their order."""

# Design: each worker takes the next number and writes what it makes to its place in the array of its group; a group is
# given out when all its places are filled. So what comes out, errors included, does not depend on the threads, no
# thread waits for a slow one before `ahead` groups are done, and no more than those are held. Turned down: pipeline.py,
# whose tasks are few and long and which consumes in its workers, and concurrent.futures, whose threads outlive an
# iterator that is left early and hang the exit of the interpreter.

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import StreamnormError
from .pipeline import Cancelled, join

Group = tuple[int, int]  # its first place in the order, and the one after its last


def groups_of(n: int, size: int) -> list[Group]:
    """`n` things in groups of `size`; a single one that is left joins the group before it."""
    groups = [(first, min(first + size, n)) for first in range(0, n, size)]
    if len(groups) > 1 and size > 1 and n % size == 1:
        groups[-2:] = [(groups[-2][0], n)]
    return groups


def in_order(
    groups: Sequence[Group],
    room: Callable[[Group], np.ndarray],
    make: Callable[[np.ndarray, int], None],
    *,
    threads: int,
    ahead: int,
    cancel: Callable[[], None],
) -> Generator[np.ndarray, None, None]:
    """Fill an array for each group.

    Parameters
    ----------
    groups : sequence of (int, int)
        One after the other, the first from 0 on.
    room : callable
        ``room(group)``: an array with a place for each.
    make : callable
        ``make(place, i)`` fills the place of number i; may raise `Cancelled` after `cancel` was called.
    threads : int
        1: everything happens in the thread that iterates.
    ahead : int
        Groups that are made before they are asked for.
    cancel : callable
        Called once nothing more is wanted.

    Raises
    ------
    Exception
        What `make` raised for the first number of those in a group for which it raised.
    StreamnormError
        If another process than the one that began goes on, which has no such threads.
    """
    if threads == 1:
        for first, stop in groups:
            array = room((first, stop))
            for i in range(first, stop):
                make(array[i - first], i)
            yield array
            del array
        return
    process, shared = os.getpid(), _Shared(groups, room, make, ahead)
    workers: list[threading.Thread] = []
    try:
        for _ in range(min(threads, groups[-1][1] if groups else 0)):
            workers.append(threading.Thread(target=shared.serve, name="streamnorm-images", daemon=True))
            workers[-1].start()
        for _ in groups:
            if os.getpid() != process:
                raise StreamnormError("these batches were begun in another process: iterate anew in this one")
            yield shared.next()
    finally:
        if os.getpid() == process:
            shared.stop()
            cancel()
            for worker in workers:
                if worker is not threading.current_thread():  # which may collect what was dropped
                    join(worker)


@dataclass
class _Filling:
    """A group on its way."""

    array: np.ndarray
    left: int  # places to be filled
    error: tuple[int, BaseException] | None = None  # of the first number that has one


class _Shared:
    """What workers and consumer share; every field is guarded by ``changed``."""

    def __init__(
        self,
        groups: Sequence[Group],
        room: Callable[[Group], np.ndarray],
        make: Callable[[np.ndarray, int], None],
        ahead: int,
    ) -> None:
        self.groups, self.room, self.make, self.ahead = groups, room, make, ahead
        self.changed = threading.Condition()
        self.group, self.number = 0, 0  # the next to be taken
        self.given = 0  # groups
        self.filling: dict[int, _Filling] = {}
        self.stopped = False
        self.error: BaseException | None = None  # of the workers themselves

    def serve(self) -> None:
        """What a worker does."""
        try:
            while (taken := self.take()) is not None:
                group, i, filling = taken
                error: BaseException | None = None
                try:
                    self.make(filling.array[i - self.groups[group][0]], i)
                except Cancelled:
                    return
                except BaseException as raised:  # handed over to whom it concerns
                    error = raised
                self.done(filling, i, error)
                del taken, filling, error  # an error's traceback leads back to this frame
        except BaseException as raised:  # no memory for a group, say
            with self.changed:
                self.error = raised
                self.changed.notify_all()

    def take(self) -> tuple[int, int, _Filling] | None:
        """The next number, once its group may be begun."""
        with self.changed:
            while not self.stopped and self.group < len(self.groups) and self.group > self.given + self.ahead:
                self.changed.wait()
            if self.stopped or self.error is not None or self.group >= len(self.groups):
                return None
            group, i = self.group, self.number
            first, stop = self.groups[group]
            if i == first:
                self.filling[group] = _Filling(self.room((first, stop)), stop - first)
            self.number += 1
            if self.number == stop:
                self.group += 1
            return group, i, self.filling[group]

    def done(self, filling: _Filling, i: int, error: BaseException | None) -> None:
        with self.changed:
            if error is not None and (filling.error is None or i < filling.error[0]):
                filling.error = i, error
            filling.left -= 1
            if filling.left == 0:
                self.changed.notify_all()

    def next(self) -> np.ndarray:
        """The next group's array, once it is full."""
        with self.changed:
            while self.error is None:
                filling = self.filling.get(self.given)
                if filling is not None and filling.left == 0:
                    break
                self.changed.wait()
            if self.error is not None:
                raise self.error
            filling = self.filling.pop(self.given)
            self.given += 1
            self.changed.notify_all()
        if filling.error is None:
            return filling.array
        try:
            raise filling.error[1]
        finally:
            del filling  # its error's traceback leads back to this frame

    def stop(self) -> None:
        """Have the workers end, and let go of what they made and of errors, whose tracebacks lead here."""
        with self.changed:
            self.stopped = True
            self.filling.clear()
            self.error = None
            self.changed.notify_all()
