"""What descriptions add to statistics: cost a value beside counters of distinct values, and of whole descriptions."""

import time

import pyarrow as pa

from . import arrays, data, tally_peers

ROUNDS = 3 if data.QUICK else 9
GIGA = 1e9
COLUMNS = 2


class Distinct:
    """About how many values of a column differ; ours tells zeros, whole numbers, order and skewness with it."""

    params = (list(tally_peers.DISTINCT), list(tally_peers.KINDS), [data.ROWS])
    param_names = ("impl", "kind", "rows")

    def setup(self, impl, kind, rows):
        tally_peers.check_distinct(impl, kind)
        self.column = tally_peers.column(kind, rows)

    def track_ns_per_value(self, impl, kind, rows):
        taken = tally_peers.alternate([impl], self.column, ROUNDS)[impl]
        return GIGA * min(taken) / rows

    track_ns_per_value.unit = "ns"


class DistinctRatios:
    """Our time over theirs, taking turns: the median over a few rounds."""

    params = (tally_peers.PEERS, list(tally_peers.KINDS), [data.ROWS])
    param_names = ("impl", "kind", "rows")

    def setup(self, impl, kind, rows):
        for name in ("streamnorm", impl):
            tally_peers.check_distinct(name, kind)
        self.column = tally_peers.column(kind, rows)

    def track_time_ratio(self, impl, kind, rows):
        return tally_peers.ratio("streamnorm", impl, self.column, ROUNDS)

    track_time_ratio.unit = "ours / theirs"


class DescribeRatios:
    """Time to describe a table over that of fitting robust scalers to it, both on one processor."""

    params = ([data.ROWS // COLUMNS],)
    param_names = ("rows",)

    def setup(self, rows):
        self.table = pa.table({f"x{i}": arrays.values("float64", rows + i)[:rows] for i in range(COLUMNS)})

    def track_time_over_robust(self, rows):
        import streamnorm as sn
        from streamnorm.report.describe import describe

        ratios = []
        for _ in range(ROUNDS):
            start = time.process_time()
            describe(self.table)
            middle = time.process_time()
            sn.fit(self.table, method="robust")
            ratios.append((middle - start) / (time.process_time() - middle))
        return sorted(ratios)[ROUNDS // 2]

    track_time_over_robust.unit = "ratio"
