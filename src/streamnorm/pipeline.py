"""Work on threads, results in order, memory in bounds: the one concurrency primitive of the engine."""

# Design: tasks are taken in order, each pushes any number of results, and the caller's thread receives all results in
# task order, whatever the timing. So an outcome never depends on the number of threads, the first error is always that
# of the earliest task, and only one thread writes. A task that runs ahead waits when what it has pushed and nobody has
# taken yet exceeds the stash; the task whose turn it is can always pass on one result, so there is no deadlock.
# Turned down: concurrent.futures, whose results are held however many there are, and which does not stop at Ctrl-C.

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .memory import LARGE, give_back


class Cancelled(Exception):
    """Raised inside a task by its `Outlet` once the run is over; never reaches the caller."""


def usable_cores() -> int:
    """Cores that this process may run on (containers and ``taskset`` allow fewer than the machine has)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def resolve_threads(threads: int | None) -> int:
    """The number of worker threads; None means one a core."""
    if threads is None:
        return usable_cores()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a positive integer or None, got {threads!r}")
    return threads


def run_ordered(
    tasks: Sequence[Any],
    work: Callable[[Any, Outlet], None],
    *,
    threads: int,
    stash: int,
    need: Callable[[Any], int] = lambda task: 0,
    limit: int = 0,
) -> Iterator[tuple[int, Any]]:
    """Run ``work(task, outlet)`` for every task on `threads` workers and yield ``(task index, result)`` in order.

    Parameters
    ----------
    tasks : sequence
    work : callable
        Calls ``outlet.push(result, nbytes)`` for each of its results, and ``outlet.check()`` now and then in long work.
        Must hold no lock that the caller needs.
    threads : int
    stash : int
        Bytes of results that may wait for their turn.
    need : callable, optional
        Bytes that a task holds while it runs.
    limit : int, optional
        What the tasks that run at the same time may need together; one that needs more runs alone.

    Yields
    ------
    (int, object)
        In task order, and in the order of ``push`` within a task. After the last result of task i, ``(i, None)``.

    Raises
    ------
    Exception
        What the earliest failing task raised; later tasks are cancelled. Closing the iterator (or Ctrl-C in the
        thread that consumes it) cancels and joins the workers, too.
    """
    run = _Run(tasks, work, stash, need, limit)
    workers = [threading.Thread(target=run.serve, daemon=True) for _ in range(min(threads, len(tasks)))]
    try:
        for worker in workers:
            worker.start()
        for index in range(len(tasks)):
            yield from ((index, result) for result in run.results_of(index))
            yield index, None
    finally:
        run.cancel()
        for worker in workers:
            if worker.ident is not None:
                worker.join()


_DONE = object()
RUN_AHEAD = 64  # tasks


class Outlet:
    """Where one task puts its results."""

    def __init__(self, run: _Run, index: int) -> None:
        self._run, self._index = run, index

    def push(self, result: Any, nbytes: int) -> None:
        """Hand over a result that holds `nbytes`; waits while too much is waiting for earlier tasks."""
        self._run.push(self._index, result, nbytes)

    def check(self) -> None:
        """Raise `Cancelled` if nobody wants the results any more."""
        if self._run.cancelled:
            raise Cancelled


class _Run:
    """What workers and consumer share; every field is guarded by ``changed``."""

    def __init__(
        self,
        tasks: Sequence[Any],
        work: Callable[[Any, Outlet], None],
        stash: int,
        need: Callable[[Any], int],
        limit: int,
    ) -> None:
        self.tasks, self.work, self.stash = tasks, work, stash
        self.need, self.limit = need, limit
        self.changed = threading.Condition()
        self.taking = threading.Lock()
        self.next_task = 0
        self.held = 0
        self.turn = 0
        self.waiting_bytes = 0
        self.cancelled = False
        self.results: dict[int, deque[tuple[Any, int]]] = {}

    def serve(self) -> None:
        while (taken := self.take()) is not None:
            index, held = taken
            try:
                self.work(self.tasks[index], Outlet(self, index))
                self.put(index, _DONE, 0)
            except Cancelled:
                return
            except BaseException as error:  # handed over to the consumer, KeyboardInterrupt and all
                self.put(index, error, 0)
                return
            finally:
                if held > LARGE:
                    give_back()
                with self.changed:
                    self.held -= held
                    self.changed.notify_all()

    def take(self) -> tuple[int, int] | None:
        """The next task and what it needs, once there is room. Tasks enter in order, so the one whose turn it is has
        entered before any that waits for it with memory in its hands."""
        with self.taking:
            with self.changed:
                index = self.next_task
                if self.cancelled or index >= len(self.tasks):
                    return None
                self.next_task += 1
            try:
                need = self.need(self.tasks[index])
            except BaseException as error:
                self.results[index] = deque([(error, 0)])
                with self.changed:
                    self.changed.notify_all()
                return None
            with self.changed:
                while not self.cancelled and self.must_wait(index, need):
                    self.changed.wait()
                self.held += need
                self.results[index] = deque()
                return index, need

    def must_wait(self, index: int, need: int) -> bool:
        # The second rule is for results that weigh nothing and would pile up all the same.
        return (self.held > 0 and self.held + need > self.limit) or index > self.turn + RUN_AHEAD

    def push(self, index: int, result: Any, nbytes: int) -> None:
        with self.changed:
            while not self.cancelled and self.is_full(index, nbytes):
                self.changed.wait()
            if self.cancelled:
                raise Cancelled
        self.put(index, result, nbytes)

    def is_full(self, index: int, nbytes: int) -> bool:
        """Whether a result must wait. The task whose turn it is may always have one result under way."""
        if index == self.turn and not self.results[index]:
            return False
        return self.waiting_bytes > 0 and self.waiting_bytes + nbytes > self.stash

    def put(self, index: int, result: Any, nbytes: int) -> None:
        with self.changed:
            self.results[index].append((result, nbytes))
            self.waiting_bytes += nbytes
            self.changed.notify_all()

    def results_of(self, index: int) -> Iterator[Any]:
        with self.changed:
            self.turn = index
            self.changed.notify_all()
        while True:
            with self.changed:
                while not self.results.get(index):
                    self.changed.wait()
                result, nbytes = self.results[index].popleft()
            if result is _DONE:
                with self.changed:
                    del self.results[index]
                return
            if isinstance(result, BaseException):
                raise result
            yield result
            del result
            with self.changed:
                self.waiting_bytes -= nbytes
                self.changed.notify_all()

    def cancel(self) -> None:
        with self.changed:
            self.cancelled = True
            self.changed.notify_all()
