"""Batches as a PyTorch dataset."""

# Design: the units of a source are dealt out to workers by their number, the same in every epoch, so that each row
# comes once even if the workers disagree about the epoch. How often each has begun is counted in memory that all
# processes share: workers are new in every epoch (or stay, if they are persistent), and a counter in the dataset would
# begin again in each. Turned down: the seed that PyTorch hands to workers, which would make an epoch depend on what
# else has drawn from PyTorch's generator.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from ._batches import Batches

MAX_WORKERS = 1024


class BatchesDataset(IterableDataset):
    """What :meth:`Batches.to_torch` returns; for ``DataLoader(dataset, batch_size=None, num_workers=...)``.

    Parameters
    ----------
    batches : Batches
    """

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches
        self._mine: tuple[tuple[int, int], Batches] | None = None
        self.begun = torch.full((MAX_WORKERS,), batches.epoch, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of this epoch, in all workers."""
        self.begun.fill_(int(epoch))

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if workers > MAX_WORKERS:
            raise ValueError(f"there are {workers} workers, and {MAX_WORKERS} is the most")
        epoch = int(self.begun[worker])
        self.begun[worker] += 1
        mine = self.batches if info is None else self._share(worker, workers)
        mine.set_epoch(epoch)
        return map(_tensors, mine)

    def _share(self, worker: int, workers: int) -> Batches:
        """A worker's part, which keeps what it holds if the worker stays."""
        if self._mine is None or self._mine[0] != (worker, workers):
            self._mine = (worker, workers), self.batches.share(worker, workers)
        return self._mine[1]


def _tensors(batch: Any) -> Any:
    if isinstance(batch, tuple):
        return tuple(map(torch.from_numpy, batch))
    return torch.from_numpy(batch)
