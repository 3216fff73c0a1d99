"""Networks for images, text and series beside PyTorch's: time of a training step and of predictions."""

from contextlib import ExitStack

from . import data, model_peers, turns
from .model_peers import IMPLEMENTATIONS, MODELS, Problem

NAMES = model_peers.available()
THREADS = [1] if data.QUICK else [1, 2]
KINDS = ["train", "predict"]


def calls_of(name, label, threads):
    """Those of an implementation whose answer has been checked; None where it has no such model."""
    if name not in model_peers.available(MODELS[label]):
        return None
    model_peers.check(name, MODELS[label], threads)
    return IMPLEMENTATIONS[name].calls(Problem(MODELS[label]), threads)


class Models:
    """Four steps of 32 rows, and predictions for as many."""

    params = (NAMES[:2], list(MODELS), THREADS)
    param_names = ("impl", "model", "threads")
    timeout = 600

    def setup(self, impl, model, threads):
        if getattr(self, "made", None) != (impl, model, threads):
            self.calls = calls_of(impl, model, threads)
            self.made = impl, model, threads
        self.around = ExitStack()
        self.around.enter_context(self.calls.epoch.around())

    def teardown(self, impl, model, threads):
        self.around.close()

    def time_train(self, impl, model, threads):
        self.calls.epoch.function()

    def time_predict(self, impl, model, threads):
        self.calls.predict.function()


class ModelRatios:
    """Our time over that of PyTorch, whose faster layout counts: the median over a few rounds, taking turns."""

    params = ([name for name in NAMES if name == "torch"], list(MODELS), KINDS)
    param_names = ("impl", "model", "what")
    timeout = 600

    def setup(self, impl, model, what):
        self.calls = {}
        for name in model_peers.available(MODELS[model]):
            calls = calls_of(name, model, 1)
            self.calls[name] = calls.epoch if what == "train" else calls.predict

    def track_time_ratio(self, impl, model, what):
        taken = turns.alternate(self.calls)
        mine = taken.pop("streamnorm")
        return max(turns.ratio(mine, theirs) for theirs in taken.values())

    track_time_ratio.unit = "ours / theirs"
