"""The commands that train a model and use it."""

# Design: as for the commands in `cli`: options are the keywords of `Regressor` and of its `fit`, and one that is not
# given is not passed on. The exception is the seed: a command that is run again is expected to do the same again, so
# its default is 0, where the library's is chance.

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from .cli_parts import check_own_target, say_done
from .console import Console, one_line
from .masking import masked
from .options import METHODS, PARQUET_OUT, WITH_OUTPUT, encoding, example, files, given, inputs, names, output, running
from .options import overwrite as overwrite_option

NORMS = ("batch", "layer", "instance", "group", "rms", "none")
ACTIVATIONS = ("relu", "tanh", "sigmoid")
LOSSES = ("mean_squared_error", "mean_absolute_error", "huber", "quantile")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCALERS = (*METHODS, "none")
MISSING = ("error", "null")


def _widths(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Widths of layers, between commas; "none" for no hidden layer."""
    if value is None:
        return None
    if value == "none":
        return ()
    try:
        widths = tuple(int(part) for part in value.split(","))
    except ValueError:
        widths = (0,)
    if min(widths) < 1:
        raise click.BadParameter(f"{value!r} is not a list of widths such as 64,64, or none", param=param)
    return widths


def _or_none(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """The choice "none" as a value of its own, because None is an option that was not given."""
    return NONE if value == "none" else value


NONE = object()

_network = [
    click.option(
        "--hidden",
        metavar="N,...",
        callback=_widths,
        help="Widths of the hidden layers, or none for a linear model. [default: 64,64]",
    ),
    click.option(
        "--norm",
        type=click.Choice(NORMS),
        callback=_or_none,
        help="Normalization between a hidden layer and its activation. [default: batch]",
    ),
    click.option("--activation", type=click.Choice(ACTIVATIONS), help="Of the hidden layers. [default: relu]"),
    click.option(
        "--dropout",
        type=click.FloatRange(0, 1, max_open=True),
        metavar="P",
        help="Share of the hidden units that a training step leaves out. [default: 0.0]",
    ),
    click.option(
        "--scaler",
        type=click.Choice(SCALERS),
        callback=_or_none,
        help="How inputs are scaled. [default: standard]",
    ),
    click.option(
        "--target-scaler",
        type=click.Choice(SCALERS),
        callback=_or_none,
        help="How the target is scaled for training; predictions are in its own units. [default: standard]",
    ),
    click.option("--loss", type=click.Choice(LOSSES), help="What training minimizes. [default: mean_squared_error]"),
    click.option(
        "--quantile",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="Q",
        help="Predict this quantile; means --loss quantile.",
    ),
    click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="How it is minimized. [default: adam]"),
    click.option(
        "--learning-rate",
        type=click.FloatRange(0, min_open=True),
        metavar="RATE",
        help="Of the optimizer. [default: 0.01]",
    ),
    click.option(
        "--epochs", type=click.IntRange(min=1), metavar="N", help="Most passes over the rows. [default: 10]"
    ),
    click.option(
        "--batch-size", type=click.IntRange(min=1), metavar="N", help="Rows of a training step. [default: 32]"
    ),
    click.option(
        "--early-stopping",
        is_flag=True,
        default=None,
        help="Hold rows out, stop when the loss over them no longer improves, and keep the best epoch.",
    ),
    click.option(
        "--validation-fraction",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="SHARE",
        help="Share of the rows that --early-stopping holds out. [default: 0.1]",
    ),
    click.option(
        "--n-iter-no-change",
        type=click.IntRange(min=1),
        metavar="N",
        help="Epochs without improvement after which --early-stopping stops. [default: 5]",
    ),
    click.option(
        "--impute",
        is_flag=True,
        default=None,
        help="Take missing inputs for the center of their column, and tell the network where they were.",
    ),
    click.option(
        "--embed",
        metavar="NAME,...",
        multiple=True,
        callback=names,
        help="Columns of strings to learn vectors for; may be repeated.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0, max=2**32 - 1),
        default=0,
        metavar="N",
        help="Where chance begins: the same seed gives the same model. [default: 0]",
    ),
]
_columns = [
    click.option(
        "--columns",
        metavar="NAME,...",
        multiple=True,
        callback=names,
        help="Columns to learn from; may be repeated. [default: every integer, float and decimal column but the "
        "target]",
    ),
    click.option(
        "--exclude", metavar="NAME,...", multiple=True, callback=names, help="Columns to leave out; may be repeated."
    ),
    click.option(
        "--sample-weight", metavar="NAME", help="Column that holds the weights of the rows."
    ),
]


def _with(options: list[Any]) -> Any:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def options_named(options: list[Any], wanted: Sequence[str]) -> list[Any]:
    """Those of the options whose parameters have these names, for a command that shares them."""

    def name_of(option: Any) -> str:
        def function() -> None:
            pass

        return option(function).__click_params__[0].name

    return [option for option in options if name_of(option) in wanted]


FIT_OPTIONS = ("target", "columns", "exclude", "sample_weight", "memory", "threads")


@click.command(
    options_metavar="--target NAME -o MODEL [OPTIONS]",
    epilog=example("train trips.parquet --target tip -o model.safetensors --epochs 3"),
)
@inputs
@click.option(
    "--target",
    metavar="NAME,...",
    multiple=True,
    required=True,
    callback=names,
    help="Column to predict; several for a model of several. Rows without it are left out.",
)
@output("File for the model: safetensors, with all that predict needs.")
@_with([*_network, *_columns])
@overwrite_option
@running
@click.pass_obj
def train(
    console: Console, source: list[str], sink: str, overwrite: bool, quantile: float | None, seed: int, **options: Any
) -> None:
    """Train a network on IN to predict a column of it, and save it.

    IN are Parquet files, directories of them, or patterns such as 'trips/*.parquet'. They are streamed, shuffled on the
    way, and may be larger than memory. Inputs and target are scaled, and the scaling is part of the model.
    """
    if quantile is not None and options["loss"] not in (None, "quantile"):
        raise click.UsageError("--quantile goes with --loss quantile")
    check_own_target(sink, overwrite, others=source, what="the model")
    from .nn import Regressor
    from .training_progress import training_progress

    if quantile is not None:
        from .nn import QuantileLoss

        options["loss"] = QuantileLoss(quantile)
    chosen: dict[str, Any] = {key: None if value is NONE else value for key, value in given(options).items()}
    fitting = {key: chosen.pop(key) for key in FIT_OPTIONS if key in chosen}
    targets = fitting["target"]
    fitting["target"] = targets[0] if len(targets) == 1 else targets
    model = Regressor(random_state=seed, **chosen)
    path: Any = source[0] if len(source) == 1 else source
    with console.listening():
        with _in_terms_of_options():
            _say_columns(path, targets, model, fitting)
            with training_progress(console, model.epochs) as progress:
                model.fit(path, progress=progress, **fitting)
        model.save(sink, overwrite=overwrite)
    _say_trained(console, model, sink)


# What the library advises, and how it is done here.
_ADVICE = {
    "impute missing values, fill them in, or leave the column out": "impute missing values (--impute), fill them in, "
    "or leave the column out (--exclude)",
    "learn a vector for each (embed=), or leave the column out (exclude=)": "learn a vector for each (--embed), or "
    "leave the column out (--exclude)",
    "name booleans or dates in columns=, or strings in embed=": "name booleans or dates in --columns, or strings in "
    "--embed",
    "take a lower learning rate than": "take a lower --learning-rate than",
    ", or limit gradients with clip_norm=1.0; scale inputs and targets, if they are not scaled": "",
}


@contextmanager
def _in_terms_of_options() -> Iterator[None]:
    """Give errors the names of options in place of those of keywords; a loss that is no number is an error like any."""
    from .errors import DataError, StreamnormError

    def said(error: Exception) -> str:
        text = str(error)
        for advice, here in _ADVICE.items():
            text = text.replace(advice, here)
        return text

    try:
        yield
    except DataError as error:
        raise DataError(said(error), file=error.file, row_group=error.row_group, column=error.column) from None
    except FloatingPointError as error:
        raise StreamnormError(said(error)) from None


def _say_columns(source: Any, targets: list[str], model: Any, fitting: dict[str, Any]) -> None:
    """Log which columns the model will learn from: before it does, which takes a while."""
    from .matching import naming
    from .nn._regressor_rows import check_target, input_columns
    from .predictions import log_columns
    from .sources import ParquetInput, find_files

    first = ParquetInput(next(iter(find_files(source))))
    weight = fitting.get("sample_weight")
    taken = [*targets, *([] if weight is None else [weight])]
    embed = model.embed or []
    with naming(first):
        check_target(first.schema, targets)
        numeric = input_columns(first.schema, fitting.get("columns"), fitting.get("exclude"), embed, taken)
    log_columns("learning", targets, [*numeric, *embed], [name for name in first.schema.names if name not in taken])


def _say_trained(console: Console, model: Any, sink: str) -> None:
    import shutil

    from .curves import draw
    from .training_progress import fancy

    history = model.history_
    fitted = next((scaler for scaler in (model.target_scaler_, model.scaler_) if scaler is not None), None)
    rows, features, epochs = None if fitted is None else fitted.summary_.rows, model.n_features_in_, model.n_iter_
    if not console.as_json and not console.quiet:
        width = shutil.get_terminal_size().columns if sys.stderr is not None and sys.stderr.isatty() else 80
        curve = draw(history, width=min(width, 100), fancy=fancy(sys.stderr))
        if curve:
            console.say("curve", curve)
    losses = {name: values[-1] for name, values in history.items() if values}
    best = ""
    if history.get("val_loss"):
        epoch = min(range(epochs), key=lambda i: history["val_loss"][i])
        losses = {name: values[epoch] for name, values in history.items()}
        best = f" (epoch {epoch + 1} of {epochs})"
    said = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    seconds = console.seconds
    speed = None if rows is None else rows * epochs / seconds
    console.say(
        "done",
        one_line(
            f"trained {epochs} epoch{'' if epochs == 1 else 's'} on {'' if rows is None else f'{rows:,} rows of '}"
            f"{features} column{'' if features == 1 else 's'} in {seconds:.2f} s"
            + ("" if speed is None else f" ({speed:,.0f} rows/s)")
            + f": {said}{best}; wrote {masked(sink)}"
        ),
        rows=rows,
        features=features,
        epochs=epochs,
        seconds=round(seconds, 3),
        rows_per_s=None if speed is None else round(speed),
        target=masked(sink),
        **losses,
    )


@click.command(
    options_metavar=WITH_OUTPUT,
    epilog=example("predict model.safetensors trips.parquet -o out.parquet"),
)
@click.argument("model", metavar="MODEL", type=click.Path(), callback=files)
@inputs
@output(PARQUET_OUT)
@click.option("--name", metavar="NAME", help="Name of the column that is added. [default: prediction]")
@click.option(
    "--missing",
    type=click.Choice(MISSING),
    help="What to do where a row lacks an input that the model does not impute: stop, or predict null for the row. "
    "[default: error]",
)
@encoding
@running
@click.pass_obj
def predict(console: Console, model: str, source: list[str], sink: str, **options: Any) -> None:
    """Write IN with a column of predictions, all other columns as they are.

    MODEL is a file that train has written. IN are Parquet files, directories of them, or patterns such as
    'trips/*.parquet', with the columns that the model was trained on.
    """
    from . import predictions, states
    from .errors import StateError

    if not states.looks_like_model(model):
        raise StateError(f"{model}: is no model: give a file that 'streamnorm train' has written")
    loaded = states.load(model)
    if not hasattr(loaded, "n_outputs_"):
        raise StateError(f"{model}: is a network without scalers and names of columns: load it and call its predict")
    with console.listening(), console.progress() as progress:
        rows, without = predictions.predict(source, sink, loaded, progress=progress, **given(options))
    also = f", {without:,} without a prediction, as they lack an input" if without else ""
    say_done(console, "wrote", rows, "to", sink, also, without_prediction=without)
