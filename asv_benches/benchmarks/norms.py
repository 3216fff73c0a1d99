"""Norm layers beside PyTorch's, forward and backward: time, share of a copy's bandwidth, error."""

from contextlib import ExitStack
from math import nan

from . import data, norm_peers, turns
from .norm_peers import CELLS, DTYPES, GRID, IMPLEMENTATIONS, MEMORY, THREADS, Problem

NAMES = norm_peers.available()
OURS = [name for name in NAMES if name.startswith("streamnorm")]
LABELS = [cell.label for cell in GRID]
OFFSETS = [100.0] if data.QUICK else [0.0, 100.0]
GIGA = 1e9


class _Layer:
    params = (NAMES, LABELS, DTYPES, THREADS)
    param_names = ("impl", "cell", "dtype", "threads")
    timeout = 600
    direction = ""

    def setup(self, impl, cell, dtype, threads):
        if getattr(self, "made", None) != (impl, cell, dtype, threads):
            problem = Problem(CELLS[cell], dtype)
            norm_peers.check(impl, problem, threads)
            self.call = IMPLEMENTATIONS[impl](problem, threads).directions()[self.direction]
            self.made = impl, cell, dtype, threads
        self.around = ExitStack()
        self.around.enter_context(self.call.around())

    def teardown(self, impl, cell, dtype, threads):
        self.around.close()


class NormForward(_Layer):
    """Forward alone: batch norm in training, with running statistics; no gradients are prepared."""

    direction = "forward"

    def time_call(self, impl, cell, dtype, threads):
        self.call.function()


class NormBoth(_Layer):
    """Forward and backward, with the gradients of x, weight and bias."""

    direction = "both"

    def time_call(self, impl, cell, dtype, threads):
        self.call.function()


class NormFromMemory:
    """Arrays that no cache holds, into given buffers, beside a copy of 256 MB in the same rounds."""

    params = (["streamnorm_out"], [cell.label for cell in MEMORY], THREADS, ["forward", "backward"])
    param_names = ("impl", "cell", "threads", "direction")
    timeout = 600

    def setup(self, impl, cell, threads, direction):
        problem = Problem(CELLS[cell], "float32")
        norm_peers.check(impl, problem, threads)
        del problem.truth
        call = IMPLEMENTATIONS[impl](problem, threads).directions()[direction]
        self.calls = {impl: call, "copy": turns.copy(threads)}
        self.bytes = norm_peers.moved(CELLS[cell], "float32", direction)

    def track_gb_per_s(self, impl, cell, threads, direction):
        return self.bytes / min(turns.alternate(self.calls)[impl]) / GIGA

    track_gb_per_s.unit = "GB/s"

    def track_time_over_copy(self, impl, cell, threads, direction):
        mine, copy = turns.alternate(self.calls).values()
        return turns.ratio(mine, copy) * 2 * turns.COPY_BYTES / self.bytes

    track_time_over_copy.unit = "ratio, for the same bytes"


class NormError:
    """Largest error of a result or gradient over the largest value, for values around zero and around 100."""

    params = ([name for name in OURS if name != "streamnorm_out"], LABELS, DTYPES, OFFSETS)
    param_names = ("impl", "cell", "dtype", "offset")
    timeout = 600

    def setup(self, impl, cell, dtype, offset):
        self.problem = Problem(CELLS[cell], dtype, offset)

    def track_error(self, impl, cell, dtype, offset):
        answer = norm_peers.answer(impl, self.problem)
        return max(norm_peers.errors(answer, self.problem.truth).values())

    track_error.unit = "of the largest"


if "torch" in NAMES:

    class NormRatios:
        """Our time over PyTorch's, taking turns: the median over a few rounds, NaN if others disturbed them."""

        params = (OURS, LABELS, DTYPES, THREADS, ["forward", "both"])
        param_names = ("impl", "cell", "dtype", "threads", "direction")
        timeout = 600

        def setup(self, impl, cell, dtype, threads, direction):
            problem = Problem(CELLS[cell], dtype)
            self.calls = {}
            for name in (impl, "torch"):
                norm_peers.check(name, problem, threads)
                self.calls[name] = IMPLEMENTATIONS[name](problem, threads).directions()[direction]

        def track_time_over_torch(self, impl, cell, dtype, threads, direction):
            taken, disturbed = turns.watched(self.calls, threads)
            return nan if disturbed and not data.QUICK else turns.ratio(*taken.values())

        track_time_over_torch.unit = "ours / theirs"
