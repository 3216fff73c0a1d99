"""Tasks on threads, results in order: every law of `run_ordered` on random plans, with errors and early ends."""

import random
import threading
import time

import pytest

from streamnorm.pipeline import run_ordered

SEEDS = 300
TIME_LIMIT = 60.0  # seconds for one plan, which takes milliseconds: beyond, it hangs


class Plan:
    """What each task needs and pushes, where something is raised, and after how many tasks the caller stops."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        pick = self.random.choice
        self.size, self.threads = self.random.randrange(90), self.random.randrange(1, 9)
        self.limit, self.stash = pick([0, 5, 20]), pick([0, 3, 10, 50])
        self.pushes = [[pick([0, 1, 4, 20]) for _ in range(self.random.randrange(5))] for _ in range(self.size)]
        self.needs = [pick([0, 1, 3, 6, 50]) for _ in range(self.size)]
        faults = self.random.randrange(3) if self.size else 0
        places = ("need", "work", "consume", "end")
        self.raises = {self.random.randrange(self.size): pick(places) for _ in range(faults)}
        self.stop = self.random.randrange(self.size) if self.size and pick([False, True]) else None
        self.consuming = threading.Lock()
        self.consumed, self.done, self.error = [], [], None

    def fail(self, task, place):
        if self.raises.get(task) == place:
            raise ValueError(task)

    def linger(self):
        if self.random.random() < 0.1:
            time.sleep(self.random.random() * 1e-3)

    def need(self, task):
        self.fail(task, "need")
        return self.needs[task]

    def work(self, task, outlet):
        for number, nbytes in enumerate(self.pushes[task]):
            self.linger()
            self.fail(task, "work")
            outlet.push((task, number), nbytes)
            outlet.check()
        self.fail(task, "end")

    def consume(self, task, result):
        assert self.consuming.acquire(blocking=False), "two consumers at a time"
        try:
            self.linger()
            self.fail(task, "consume")
            self.consumed.append(result)
        finally:
            self.consuming.release()

    def run(self):
        tasks = run_ordered(
            range(self.size),
            self.work,
            self.consume,
            threads=self.threads,
            stash=self.stash,
            need=self.need,
            limit=self.limit,
        )
        try:
            for task in tasks:
                self.done.append(task)
                if task == self.stop:
                    tasks.close()
                    break
        except ValueError as error:
            self.error = error.args[0]


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_laws_of_ordered_runs(first):
    before = threading.active_count()
    for seed in range(first, first + 50):
        plan = Plan(seed)
        caller = threading.Thread(target=plan.run, daemon=True)
        caller.start()
        caller.join(TIME_LIMIT)
        assert not caller.is_alive(), f"seed {seed} hangs"
        assert threading.active_count() == before, f"seed {seed} leaves threads"
        results = [(task, number) for task in range(plan.size) for number in range(len(plan.pushes[task]))]
        assert plan.consumed == results[: len(plan.consumed)], seed
        assert plan.done == list(range(len(plan.done))), seed
        reached = {task for task, place in plan.raises.items() if place in ("need", "end") or plan.pushes[task]}
        first_fault = min(reached, default=plan.size)
        if plan.stop is not None and plan.stop < first_fault:
            assert plan.error is None and plan.done == list(range(plan.stop + 1)), seed
        else:
            assert plan.error == (first_fault if reached else None), seed
            assert plan.done == list(range(first_fault)), seed
            assert reached or plan.consumed == results, seed
