"""The windows of one part as batches, epoch after epoch."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np

from ._ahead import ahead
from ._batch_rows import random_key
from ._rows import Shuffler, gather_windows
from ._series_blocks import Block, BlockMaker, Run
from .errors import DataError

PIECE_BYTES = 1 << 20  # of windows that are gathered at a time: they stay in the cache until they are trained on
SHUFFLE = 4  # what random words are for; 1 to 3 are of the batches of rows

Pair = tuple[np.ndarray, np.ndarray]


class WindowStream:
    """The batches of a part of :class:`~streamnorm.Windows`: iterable, each time an epoch with an order of its own.

    Attributes
    ----------
    part : {"train", "validation"}
    batch_size : int
    sample_shape : (int, int)
        `length` and the number of features: x has shape (n, \\*sample_shape).
    num_windows : int or None
        None until an epoch has found how many have all values; known at once of what fits the memory.
    skipped : int or None
        Windows that are left out, because a value is missing in them; None as for `num_windows`.
    epoch : int
        The number of the next epoch.
    """

    def __init__(
        self,
        maker: BlockMaker,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        memory: int,
        threads: int | None,
        flat_target: bool,
    ) -> None:
        self.part, self.batch_size = maker.part, batch_size
        self.sample_shape = (maker.shape.length, maker.maker.features.width)
        self.epoch = 0
        self._maker, self.shuffle, self._seed, self._threads = maker, shuffle, seed, threads
        self._flat = flat_target
        window = 4 * (math.prod(self.sample_shape) + len(maker.maker.targets))
        self._piece = max(1, min(PIECE_BYTES, memory // 64) // (window * batch_size)) * batch_size
        self._kept: Block | None = None
        self._found: tuple[int, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def _counts(self) -> tuple[int, int] | None:
        """How many windows there are and how many are left out, if that is known without reading more than fits."""
        if self._found is None and self._maker.whole:
            self._found = len(self._block().starts), self._block().skipped
        return self._found

    @property
    def num_windows(self) -> int | None:
        counts = self._counts()
        return None if counts is None else counts[0]

    @property
    def skipped(self) -> int | None:
        counts = self._counts()
        return None if counts is None else counts[1]

    def __len__(self) -> int:
        """The number of batches; TypeError until an epoch has found it, of what does not fit the memory."""
        windows, size = self.num_windows, self.batch_size
        if windows is None:
            raise TypeError("how many batches there are is known after the first epoch")
        return windows // size if windows % size == 1 < windows else -(-windows // size)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of this epoch."""
        self.epoch = int(epoch)

    def __iter__(self) -> Iterator[Pair]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._batches(self._pieces(epoch))

    def __repr__(self) -> str:
        return f"WindowStream({self.part!r}, sample_shape={self.sample_shape}, batch_size={self.batch_size})"

    def _batches(self, pieces: Generator[Pair, None, None]) -> Iterator[Pair]:
        """Pieces, which are whole multiples of a batch but for the last, as batches; none of them has a single row."""
        size = self.batch_size
        waiting: Pair | None = None
        try:
            for x, y in pieces:
                for start in range(0, len(x), size):
                    batch = x[start : start + size], y[start : start + size]
                    if waiting is not None and len(batch[0]) == 1 < size:
                        waiting = np.concatenate([waiting[0], batch[0]]), np.concatenate([waiting[1], batch[1]])
                        continue
                    if waiting is not None:
                        yield waiting
                    waiting = batch
            if waiting is not None:
                yield waiting
        finally:
            pieces.close()

    def _block(self) -> Block:
        """The only block of a part that fits the memory, which stays there."""
        if self._kept is None:
            run = Run(0, self._maker.rows.source.session())
            try:
                (self._kept,) = self._maker.blocks(run)
            finally:
                run.source.close()
            self._check_any(len(self._kept.starts), self._kept.skipped)
        return self._kept

    def _check_any(self, windows: int, skipped: int) -> None:
        if windows == 0 and self.part == "train":
            what = f"all {skipped:,} lack a value" if skipped else "no stretch of rows before the split is as long"
            raise DataError(
                f"there is no window over {self._maker.shape.span:,} rows to train on: {what}; make length and horizon "
                "shorter, or leave out columns that lack values"
            )

    def _pieces(self, epoch: int) -> Generator[Pair, None, None]:
        if self._maker.whole:
            self._maker.rows.source.check_unchanged()
            return self._cut([self._block()], epoch)
        run = Run(epoch, self._maker.rows.source.session())
        made = self._flowing(run)
        return made if self._threads == 1 else ahead(made, run.stop)

    def _flowing(self, run: Run) -> Generator[Pair, None, None]:
        """The pieces of an epoch over blocks that come and go."""

        def counted() -> Iterator[Block]:
            for block in self._maker.blocks(run):
                run.windows, run.skipped = run.windows + len(block.starts), run.skipped + block.skipped
                yield block
                del block

        try:
            yield from self._cut(counted(), run.epoch)
        finally:
            run.source.close()
        self._check_any(run.windows, run.skipped)
        self._found = run.windows, run.skipped

    def _cut(self, blocks: Iterable[Block], epoch: int) -> Generator[Pair, None, None]:
        """The windows of blocks, in the order of an epoch, in pieces."""
        at = number = 0
        for block in blocks:  # enumerate would hold on to it while the next one is made
            left = len(block.starts)
            order = self._order(block.starts, number, epoch)
            while left:
                if at == 0:
                    x, y = self._room(min(self._piece, left) if self._maker.whole else self._piece)
                starts = order.take(min(len(x) - at, left))
                left -= len(starts)
                self._gather(x, y, at, block, starts)
                at += len(starts)
                if at == len(x):
                    yield x, y
                    at = 0
            number += 1  # noqa: SIM113
            del block, order
        if at:
            yield x[:at], y[:at]

    def _order(self, starts: np.ndarray, number: int, epoch: int) -> _InOrder | _Shuffled:
        if not self.shuffle:
            return _InOrder(starts)
        return _Shuffled(starts, random_key(random_key(self._seed, SHUFFLE, epoch), SHUFFLE, number))

    def _room(self, windows: int) -> Pair:
        """Arrays for so many windows, which go to the caller."""
        targets = len(self._maker.maker.targets)
        shape = (windows,) if self._flat else (windows, targets)
        return np.empty((windows, *self.sample_shape), np.float32), np.empty(shape, np.float32)

    def _gather(self, x: np.ndarray, y: np.ndarray, at: int, block: Block, starts: np.ndarray) -> None:
        """Write windows and their targets, from number `at` on."""
        n = len(starts)
        gather_windows(x[at : at + n], block.x, starts)
        y = y.reshape(len(y), 1, block.y.shape[1])
        gather_windows(y[at : at + n], block.y, starts + (self._maker.shape.span - 1))

    def arrays(self) -> Pair:
        """All windows of the part and their targets, in the order of the source, as two arrays.

        They take the memory that they take, whatever ``memory=`` says.

        Returns
        -------
        (ndarray of float32, ndarray of float32)
            x of shape (n, length, features), and y of shape (n,) or (n, targets).
        """
        if self._maker.whole:
            block = self._block()
            x, y = self._room(len(block.starts))
            self._gather(x, y, 0, block, block.starts)
            return x, y
        run = Run(0, self._maker.rows.source.session())
        found = [self._room(0)]
        try:
            for block in self._maker.blocks(run):
                found.append(self._room(len(block.starts)))
                self._gather(*found[-1], 0, block, block.starts)
                del block
        finally:
            run.source.close()
        x, y = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return x, y


class _InOrder:
    """Numbers one after another."""

    def __init__(self, numbers: np.ndarray) -> None:
        self._numbers, self._at = numbers, 0

    def take(self, n: int) -> np.ndarray:
        """The next n, of which there are as many."""
        self._at += n
        return self._numbers[self._at - n : self._at]


class _Shuffled:
    """Numbers in random order."""

    def __init__(self, numbers: np.ndarray, key: int) -> None:
        self._shuffler = Shuffler(len(numbers), 1, np.float64, key)
        # The numbers are moved about as they are; none goes out before the buffer is full.
        self._shuffler.push(np.empty((1, 1)), np.empty((1, 0)), 0, numbers.view(np.float64)[:, None], 0)

    def take(self, n: int) -> np.ndarray:
        """The next n, of which there are as many."""
        drawn = np.empty((n, 1))
        self._shuffler.drain(drawn, np.empty((n, 0)), 0)
        return drawn[:, 0].view(np.int64)
