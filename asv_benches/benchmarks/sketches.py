"""Quantile sketches of lognormal values: cost, error, size, merging, and ratios to the peers' in the same run."""

from statistics import median

from . import arrays, data, sketch_peers
from .sketch_peers import COMPARED, MERGES, SERIALIZED, SKETCHES, Stream

ROUNDS = 1 if data.QUICK else 3
REPEATS = 10  # of the stream that is ten times as long
STATES = max(100, data.ROWS // 1000)
GIGA = 1e9


class Sketch:
    """A tenth of the rows, and all of them, as one array."""

    params = (list(SKETCHES), [data.ROWS // 10, data.ROWS])
    param_names = ("impl", "rows")
    timeout = 3600
    repeats = 1

    def setup(self, impl, rows):
        sketch_peers.check_sketch(impl)
        self.stream = Stream(rows // self.repeats, self.repeats)

    def runs(self, impl):
        return sketch_peers.alternate([impl], self.stream, ROUNDS)[impl]

    def track_ns_per_value(self, impl, rows):
        return GIGA * min(run.seconds for run in self.runs(impl)) / rows

    track_ns_per_value.unit = "ns"

    def track_rank_error(self, impl, rows):
        return 100 * sketch_peers.observed_error(self.runs(impl))

    track_rank_error.unit = "% of the count"


class SketchLong(Sketch):
    """Ten times the rows, chunk by chunk."""

    params = (["streamnorm", *COMPARED], [REPEATS * data.ROWS])
    repeats = REPEATS


class SketchSize:
    """Bytes of a serialized sketch."""

    params = (SERIALIZED, [data.ROWS // 10, data.ROWS])
    param_names = ("impl", "rows")

    def setup(self, impl, rows):
        self.stream = Stream(rows)

    def track_bytes(self, impl, rows):
        return SKETCHES[impl](self.stream, 0).size

    track_bytes.unit = "bytes"


class SketchRatios:
    """Our time over theirs, taking turns: the median over a few rounds."""

    params = (COMPARED, [data.ROWS, REPEATS * data.ROWS])
    param_names = ("impl", "rows")
    timeout = 3600

    def setup(self, impl, rows):
        for name in ("streamnorm", impl):
            sketch_peers.check_sketch(name)
        self.stream = Stream(data.ROWS, rows // data.ROWS)

    def track_time_ratio(self, impl, rows):
        ours, theirs = sketch_peers.alternate(["streamnorm", impl], self.stream, ROUNDS).values()
        return median(mine.seconds / other.seconds for mine, other in zip(ours, theirs, strict=True))

    track_time_ratio.unit = "ours / theirs"


class Merge:
    """As many states of ten thousand values as there are thousands of rows, into one."""

    params = (list(MERGES), [STATES])
    param_names = ("impl", "states")
    timeout = 3600

    def setup(self, impl, states):
        self.stream, self.parts = sketch_peers.states(impl, states)

    def track_seconds(self, impl, states):
        return min(sketch_peers.merge_seconds(impl, self.stream, self.parts)[0] for _ in range(ROUNDS))

    track_seconds.unit = "s"


class WeightedSketch:
    """A million lognormal values with weights of several kinds into a quantile sketch."""

    params = (["ones", "uniform", "pareto"], [data.ROWS // 10])
    param_names = ("weights", "rows")

    def setup(self, weights, rows):
        sketch_peers.check_weighted_sketch(weights)
        self.values, self.weights = sketch_peers.lognormal(rows), arrays.weights(rows, kind=weights)

    def track_ns_per_value(self, weights, rows):
        def sketch():
            return sketch_peers.weighted_sketch(self.values, self.weights)

        return GIGA * arrays.seconds(sketch, rows, rounds=3) / rows

    track_ns_per_value.unit = "ns"

    def track_rank_error(self, weights, rows):
        return 100 * sketch_peers.weighted_sketch(self.values, self.weights).rank_error

    track_rank_error.unit = "% of the weight"

    def track_bytes(self, weights, rows):
        return len(sketch_peers.weighted_sketch(self.values, self.weights).to_bytes())

    track_bytes.unit = "bytes"
