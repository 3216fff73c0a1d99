"""Work on threads, results in order, memory in bounds: the one concurrency primitive of the engine."""

# Design: tasks are taken in order, each makes any number of results, and all results are consumed in task order,
# whatever the timing. So an outcome never depends on the number of threads, the first error is always that of the
# earliest task, and only one thread writes at a time. The worker whose task's turn it is consumes its results itself,
# while they are in its core's cache; what the others make waits in a stash, and they wait once that is full. The task
# whose turn it is never waits, so there is no deadlock. Turned down: a thread that does nothing but consume, which took
# a third longer to write a file (it fetches each page from another core's cache, and competes with the workers), and
# concurrent.futures, whose results are held however many there are, and which does not stop at Ctrl-C.

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .memory import TIGHT, give_back, steady_allocator


class Cancelled(Exception):
    """Raised inside a task by its `Outlet` once the run is over; never reaches the caller."""


def usable_cores() -> int:
    """Cores that this process may run on (containers and ``taskset`` allow fewer than the machine has)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def resolve_threads(threads: int | None, memory: int) -> int:
    """The number of worker threads; None means one a core. Fewer where `memory` has no room for their batches."""
    if threads is None:
        threads = usable_cores()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a positive integer or None, got {threads!r}")
    return max(1, min(threads, memory // THREAD_ROOM))


def run_ordered(
    tasks: Sequence[Any],
    work: Callable[[Any, Outlet], None],
    consume: Callable[[Any, Any], None],
    *,
    threads: int,
    stash: int = 0,
    need: Callable[[Any], int] = lambda task: 0,
    limit: int = 0,
) -> Iterator[Any]:
    """Run ``work(task, outlet)`` for every task on worker threads, and ``consume(task, result)`` in order.

    Parameters
    ----------
    tasks : sequence
    work : callable
        Calls ``outlet.push(result, nbytes)`` for each of its results, and ``outlet.check()`` now and then in long work.
        Must hold no lock that `consume` needs.
    consume : callable
        Called by one worker at a time, in task order, and within a task in the order of ``push``.
    threads : int
    stash : int
        Bytes of results that may wait for their turn.
    need : callable, optional
        Bytes that a task holds while it runs.
    limit : int, optional
        What the tasks that run at the same time may need together; one that needs more runs alone.

    Yields
    ------
    task
        In order, in the calling thread, each after its last result was consumed.

    Raises
    ------
    Exception
        What the earliest failing task raised; later tasks are cancelled. Closing the iterator (or Ctrl-C in the
        thread that iterates) cancels and joins the workers, too.
    """
    steady_allocator()
    run = _Run(tasks, work, consume, stash, need, limit)
    workers: list[threading.Thread] = []
    try:
        for _ in range(min(threads, len(tasks))):
            workers.append(threading.Thread(target=run.serve, daemon=True))
            workers[-1].start()
        for index in range(len(tasks)):
            run.wait_for(index)
            yield tasks[index]
    finally:
        run.cancel()
        for worker in workers:
            join(worker)
        run.forget()
        give_back()  # what the workers' arenas keep would count on top of the next pass


def join(worker: threading.Thread) -> None:
    """Wait for a thread to end, also for one whose ``start`` was broken off by a signal and that is about to begin."""
    for _ in range(100):
        try:
            return worker.join()
        except RuntimeError:
            time.sleep(0.01)


THREAD_ROOM = 24 * 10**6  # bytes; a worker's batch, pages and open reader take 10 to 15 MB
RUN_AHEAD = 16  # tasks


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


class _Running:
    """What a task has pushed before its turn, and how it ended. Guarded by the run's ``changed``."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Any, int]] = deque()
        self.ended = False
        self.error: BaseException | None = None


class _Run:
    """What workers and caller share; every field is guarded by ``changed``.

    Results of the task whose turn it is are consumed by the worker that runs it, or, if it has ended before its turn,
    by the worker that passes the turn on. So there is one consumer at a time without a lock around ``consume``.
    """

    def __init__(
        self,
        tasks: Sequence[Any],
        work: Callable[[Any, Outlet], None],
        consume: Callable[[Any, Any], None],
        stash: int,
        need: Callable[[Any], int],
        limit: int,
    ) -> None:
        self.tasks, self.work, self.consume, self.stash = tasks, work, consume, stash
        self.need, self.limit = need, limit
        self.changed = threading.Condition()
        self.taking = threading.Lock()
        self.next_task = 0
        self.held = 0
        self.turn = 0
        self.stashed = 0
        self.cancelled = False
        self.error: BaseException | None = None
        self.running: dict[int, _Running] = {}

    def serve(self) -> None:
        """What a worker does."""
        while (taken := self.take()) is not None:
            index, held = taken
            error: BaseException | None = None
            try:
                self.work(self.tasks[index], Outlet(self, index))
            except Cancelled:
                return
            except BaseException as raised:  # handed over to the caller, KeyboardInterrupt and all
                error = raised
            if held > self.limit // 4 or self.limit < TIGHT:
                give_back()  # costs a sixth of the time where tasks are small, so only where it counts
            with self.changed:
                self.held -= held
                self.changed.notify_all()
            self.end(index, error)
            error = None  # its traceback leads back to this frame

    def take(self) -> tuple[int, int] | None:
        """The next task and what it needs, once there is room. Tasks enter in order, so the one whose turn it is has
        entered before any that waits for it with memory in its hands."""
        with self.taking:
            with self.changed:
                index = self.next_task
                if self.cancelled or index >= len(self.tasks):
                    return None
                self.next_task += 1
                self.running[index] = _Running()
            try:
                need = self.need(self.tasks[index])
            except BaseException as error:
                self.end(index, error)
                return None
            with self.changed:
                while not self.cancelled and self.must_wait(index, need):
                    self.changed.wait()
                self.held += need
                return index, need

    def must_wait(self, index: int, need: int) -> bool:
        # The second rule is for results that weigh nothing and would pile up all the same.
        return (self.held > 0 and self.held + need > self.limit) or index > self.turn + RUN_AHEAD

    def push(self, index: int, result: Any, nbytes: int) -> None:
        with self.changed:
            while not self.cancelled and index != self.turn and 0 < self.stashed > self.stash - nbytes:
                self.changed.wait()
            if self.cancelled:
                raise Cancelled
            if index != self.turn:
                self.running[index].waiting.append((result, nbytes))
                self.stashed += nbytes
                return
        self.drain(index)
        self.consume(self.tasks[index], result)

    def drain(self, index: int) -> None:
        """Consume what a task whose turn it is has stashed."""
        waiting = self.running[index].waiting
        while waiting:
            result, nbytes = waiting.popleft()
            self.consume(self.tasks[index], result)
            del result
            with self.changed:
                self.stashed -= nbytes
                self.changed.notify_all()

    def end(self, index: int, error: BaseException | None) -> None:
        """Note that a task has ended; if it is its turn, pass the turn on, over all that have ended, too."""
        with self.changed:
            self.running[index].ended, self.running[index].error = True, error
            if index != self.turn:
                return
        while True:
            try:
                if self.running[index].error is None:
                    self.drain(index)
            except BaseException as raised:
                self.running[index].error = raised
            with self.changed:
                if self.cancelled:
                    return
                self.error = self.running.pop(index).error
                if self.error is not None:
                    self.cancelled = True
                else:
                    self.turn = index = index + 1
                self.changed.notify_all()
                if self.cancelled or index not in self.running or not self.running[index].ended:
                    return

    def wait_for(self, index: int) -> None:
        """Return when a task's results are consumed; raise what stopped the run."""
        with self.changed:
            while self.turn <= index and self.error is None:
                self.changed.wait()
            if self.turn <= index and self.error is not None:
                raise self.error

    def forget(self) -> None:
        """Let go of errors and results once the workers are gone. The traceback of an error leads to this object, so
        that readers and pages would stay until the garbage collector finds the circle."""
        self.error = None
        self.running.clear()

    def cancel(self) -> None:
        with self.changed:
            self.cancelled = True
            self.changed.notify_all()
