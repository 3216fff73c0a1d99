"""The section of the report on networks for images, text and series, beside PyTorch where it is installed."""

from __future__ import annotations

from benchmarks import model_peers, models, turns
from benchmarks.model_peers import BATCH, MODELS, STEPS, Model
from reporting import OURS, Report

SPEED_TARGET = 1.0  # times as fast as PyTorch's faster layout, with one thread
TITLES = {"torch": "torch, fused Adam", "torch_channels_last": "the same, channels last"}
WHAT = {"train": f"Training step, batches of {BATCH}", "predict": f"Prediction of {BATCH} rows"}


def network_models(report: Report) -> None:
    """Time of a training step and of predictions."""
    for name, module in model_peers.missing().items():
        report.console.print(f"models by {name} are left out: {module} is not installed")
    for threads in (1, 2):
        for what in models.KINDS:
            _table(report, what, threads)


def _table(report: Report, what: str, threads: int) -> None:
    title = f"{WHAT[what]}, {threads} thread{'s' * (threads > 1)}"
    table = report.table(title, "", "model", "ms", "this / ours", "target")
    disturbed = False
    for model in MODELS.values():
        watched = report.attempt(f"{what} {model.label}", turns.watched, _calls(report, model, what, threads), threads)
        if watched is None:
            continue
        taken, noisy = watched
        disturbed |= noisy
        speeds = {name: turns.ratio(times, taken[OURS]) for name, times in taken.items() if OURS in taken}
        for name, times in taken.items():
            cells = ["", ""]
            if name in speeds and name != OURS:
                claim = f"{what} {model.label} as fast as {name} ({speeds[name]:.2f})"
                limit = SPEED_TARGET if threads == 1 else None
                cells = [f"{speeds[name]:.2f}", report.verdict(claim, speeds[name], limit, least=True)]
            table.add_row(TITLES.get(name, name), model.label, f"{1e3 * min(times) / STEPS:.2f}", *cells)
    report.console.print(table)
    if disturbed:
        report.console.print("Other processes took part of the cores meanwhile: with several threads, read with care.")


def _calls(report: Report, model: Model, what: str, threads: int) -> dict:
    calls = {}
    for name in report.names(model_peers.available(model)):
        made = report.attempt(f"{model.label} by {name}", models.calls_of, name, model.label, threads)
        if made is not None:
            calls[name] = made.epoch if what == "train" else made.predict
    return calls
