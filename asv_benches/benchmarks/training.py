"""Training of small networks beside PyTorch's and scikit-learn's: time of a step, error, rows a second, peak memory."""

from contextlib import ExitStack
from statistics import mean

from . import data, measure, training_files, training_peers, turns
from .training_peers import DATASETS, NETWORKS, REGRESSORS, SEEDS, STEPPERS, Problem

NAMES = training_peers.available(STEPPERS)
PEERS = [name for name in NAMES if not name.startswith("streamnorm")]
THREADS = [1] if data.QUICK else [1, 2]
LABELS = list(NETWORKS)
FROM_FILE = [name for name in training_files.FEEDS if name != "memory"]


class TrainingEpoch:
    """An epoch of 512 steps of the small network, or of 8 of the large one."""

    params = (NAMES, LABELS, THREADS)
    param_names = ("impl", "network", "threads")
    timeout = 600

    def setup(self, impl, network, threads):
        if getattr(self, "made", None) != (impl, network, threads):
            training_peers.check(impl, NETWORKS[network], threads)
            self.call = STEPPERS[impl].epoch(Problem(NETWORKS[network]), threads)
            self.made = impl, network, threads
        self.around = ExitStack()
        self.around.enter_context(self.call.around())

    def teardown(self, impl, network, threads):
        self.around.close()

    def time_epoch(self, impl, network, threads):
        self.call.function()


class TrainingRatios:
    """Our time of an epoch over theirs, taking turns: the median over a few rounds. Theirs without norm: sklearn."""

    params = (PEERS, LABELS)
    param_names = ("impl", "network")
    timeout = 600

    def setup(self, impl, network):
        self.calls = {}
        for name in ("streamnorm", impl):
            training_peers.check(name, NETWORKS[network])
            self.calls[name] = STEPPERS[name].epoch(Problem(NETWORKS[network]), 1)

    def track_time_ratio(self, impl, network):
        return turns.ratio(*turns.alternate(self.calls).values())

    track_time_ratio.unit = "ours / theirs"


class TrainingError:
    """Error of predictions of a quarter of the rows: the mean over the seeds, in the target's units."""

    params = (training_peers.available(REGRESSORS), list(DATASETS))
    param_names = ("impl", "dataset")
    timeout = 600

    def track_rmse(self, impl, dataset):
        return mean(training_peers.rmse(impl, DATASETS[dataset], seed) for seed in SEEDS)

    track_rmse.unit = "minutes, or degrees Fahrenheit"


class TrainingFiles:
    """`Regressor` from Parquet over the same from arrays, taking turns."""

    params = (FROM_FILE, ["1", "default"])
    param_names = ("feed", "threads")
    timeout = 600

    def setup(self, feed, threads):
        limit = None if threads == "default" else int(threads)
        self.taken = training_files.alternate(["memory", feed], limit)

    def track_rows_over_memory(self, feed, threads):
        return 1 / training_files.share(self.taken[feed], self.taken["memory"], "fit")

    def track_epoch_over_memory(self, feed, threads):
        return 1 / training_files.share(self.taken[feed], self.taken["memory"], "epoch")

    track_rows_over_memory.unit = track_epoch_over_memory.unit = "time from file / from memory"


class TrainingMemory:
    """Peak memory of a process that trains from Parquet, in MB of 10^6 bytes, beyond one that only imports."""

    params = (["streamnorm", "streamnorm_64MB"],)
    param_names = ("impl",)
    timeout = 600

    def setup(self, impl):
        measure.check("train", impl)

    def track_peak_rss_train(self, impl):
        source = training_files.source()
        return measure.run("train", impl, source).peak_mb - measure.run("train", "imports", source).peak_mb

    track_peak_rss_train.unit = "MB"
