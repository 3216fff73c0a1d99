"""Networks for images, text and series beside PyTorch's: the models that tutorials of normalization train.

A `Model` says how its layers are made here and in PyTorch, and what its rows look like; a `Problem` has rows and one
set of initial weights for both. ``IMPLEMENTATIONS[name]`` turns a problem into `Calls`: an epoch of training with Adam,
and predictions for the same rows. ``check`` compares the losses of the first steps with those in float64.
"""

# Design: PyTorch has the optimizer's fused form, batches that are already cut from a tensor, and images both as it lays
# them out by default and channels last, of which the report names the faster one. Its LSTM has two biases for the one
# that matters; the second one is held at zero, so that both sides train the same function.
#
# Design: the truth is our own network in float64. That it is right is for the tests to say, which compare it with
# PyTorch's and with central differences; here each implementation has to agree with it. PyTorch's program does so in
# float64: in float32 it sums in float32, and Adam's first steps are as large for gradients that are mere rounding.

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from . import data
from .measure import WrongAnswer
from .norm_peers import Call
from .training_peers import lacking, torch_step, torch_threads

SEED = 13
BATCH = 32
STEPS = 2 if data.QUICK else 4
CHECK_STEPS = 3
LOSS_TOLERANCE = 1e-4  # relative; float32 against float64, after as many steps
RATE = 1e-3


class Model(NamedTuple):
    """How to make the layers, by a size; what a row looks like; and the loss by its names."""

    label: str
    layers: Callable[..., list]
    torch_layers: Callable[..., Any]
    size: tuple[int, ...]
    rows: Callable[[np.random.Generator, int, tuple[int, ...]], tuple[np.ndarray, np.ndarray]]
    loss: str
    torch_loss: str
    channels_last: bool = False  # whether that is a choice that PyTorch has


# ---- a convolutional network with batch norm: images of (side, side, 3) in ten classes


def _image_layers(size: tuple[int, ...], dtype: Any) -> list:
    from streamnorm import nn

    side, width = size
    like = {"dtype": dtype, "random_state": SEED}
    return [
        nn.Conv2D(3, 32, 3, **like), nn.ReLU(), nn.BatchNorm(32, channel_axis=-1, dtype=dtype),
        nn.Conv2D(32, 64, 3, **like), nn.ReLU(), nn.BatchNorm(64, channel_axis=-1, dtype=dtype),
        nn.Flatten(), nn.Dense((side - 4) ** 2 * 64, width, **like), nn.ReLU(), nn.BatchNorm(width, dtype=dtype),
        nn.Dense(width, 10, **like),
    ]  # fmt: skip


def _torch_image_layers(size: tuple[int, ...]) -> Any:
    from torch import nn

    side, width = size
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.BatchNorm2d(32),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.BatchNorm2d(64),
        nn.Flatten(), nn.Linear((side - 4) ** 2 * 64, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Linear(width, 10),
    )  # fmt: skip


def _image_rows(rng: np.random.Generator, n: int, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return rng.random((n, size[0], size[0], 3), np.float32), rng.integers(0, 10, n)


# ---- an embedding, two LSTMs and layer norm: sequences of codes in two classes


def _text_layers(size: tuple[int, ...], dtype: Any) -> list:
    from streamnorm import nn

    tokens, width = size[1:]
    like = {"dtype": dtype, "random_state": SEED}
    return [
        nn.Embedding(tokens, width, **like),
        nn.LSTM(width, width, return_sequences=True, **like), nn.LayerNorm(width, dtype=dtype),
        nn.LSTM(width, width, **like), nn.LayerNorm(width, dtype=dtype),
        nn.Dense(width, 1, **like),
    ]  # fmt: skip


def _torch_lstm(width_in: int, width: int, sequences: bool) -> Any:
    import torch

    class LSTM(torch.nn.LSTM):
        def forward(self, x):
            y = super().forward(x)[0]
            return y if sequences else y[:, -1]

    return LSTM(width_in, width, batch_first=True)


def _torch_text_layers(size: tuple[int, ...]) -> Any:
    from torch import nn

    tokens, width = size[1:]
    return nn.Sequential(
        nn.Embedding(tokens, width),
        _torch_lstm(width, width, True), nn.LayerNorm(width),
        _torch_lstm(width, width, False), nn.LayerNorm(width),
        nn.Linear(width, 1),
    )  # fmt: skip


def _text_rows(rng: np.random.Generator, n: int, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, size[1], (n, size[0]), np.int32), rng.integers(0, 2, (n, 1)).astype(np.float32)


# ---- two LSTMs and batch norm: series of one value


def _series_layers(size: tuple[int, ...], dtype: Any) -> list:
    from streamnorm import nn

    width = size[1]
    like = {"dtype": dtype, "random_state": SEED}
    return [
        nn.LSTM(1, width, return_sequences=True, **like), nn.BatchNorm(width, channel_axis=-1, dtype=dtype),
        nn.LSTM(width, width, **like), nn.BatchNorm(width, dtype=dtype),
        nn.Dense(width, 1, **like),
    ]  # fmt: skip


def _torch_series_layers(size: tuple[int, ...]) -> Any:
    import torch
    from torch import nn

    class Channels(nn.BatchNorm1d):  # which takes the channels second
        def forward(self, x):
            return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)

    width = size[1]
    assert torch.nn is nn
    return nn.Sequential(
        _torch_lstm(1, width, True), Channels(width), _torch_lstm(width, width, False), nn.BatchNorm1d(width),
        nn.Linear(width, 1),
    )  # fmt: skip


def _series_rows(rng: np.random.Generator, n: int, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    x = rng.random((n, size[0], 1), np.float32)
    return x, x[:, -1] - x[:, 0]


# Images of 64 x 64; texts of 100 tokens out of 10,000; series of 10 steps.
MODELS = {
    model.label: model
    for model in (
        Model("image", _image_layers, _torch_image_layers, (16, 32) if data.QUICK else (64, 128), _image_rows,
              "cross_entropy", "CrossEntropyLoss", channels_last=True),
        Model("text", _text_layers, _torch_text_layers, (10, 100, 16) if data.QUICK else (100, 10_000, 64), _text_rows,
              "binary_cross_entropy", "BCEWithLogitsLoss"),
        Model("series", _series_layers, _torch_series_layers, (10, 16) if data.QUICK else (10, 64), _series_rows,
              "mse", "MSELoss"),
    )
}  # fmt: skip


class Problem:
    """Rows of a few batches, and the network here, whose first weights are those of the others, too."""

    def __init__(self, model: Model, steps: int = STEPS) -> None:
        self.model = model
        self.x, self.y = model.rows(np.random.default_rng(SEED), BATCH * steps, model.size)

    def network(self, dtype: Any = np.float32, threads: int | None = 1) -> Any:
        from streamnorm import nn

        return nn.Sequential(self.model.layers(self.model.size, dtype)).compile(
            nn.Adam(RATE), self.model.loss, threads=threads
        )

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self.x), BATCH):
            yield self.x[start : start + BATCH], self.y[start : start + BATCH]

    @cached_property
    def truth(self) -> list[float]:
        """The loss before each step, in float64."""
        return _losses(self, self.network(np.float64))


def _losses(problem: Problem, network: Any) -> list[float]:
    return [network.fit(x, y, batch_size=BATCH, shuffle=False)["loss"][0] for x, y in problem.batches()]


class Calls(NamedTuple):
    """An epoch of training, and predictions for its rows."""

    epoch: Call
    predict: Call


class Implementation(NamedTuple):
    """What it can do with a problem: calls to time, and the losses of the first steps to be checked."""

    calls: Callable[[Problem, int], Calls]
    losses: Callable[[Problem, int], list[float]]
    modules: tuple[str, ...] = ()
    only: Callable[[Model], bool] = lambda model: True


def _our_calls(problem: Problem, threads: int) -> Calls:
    network = problem.network(threads=threads)
    return Calls(
        Call(lambda: network.fit(problem.x, problem.y, batch_size=BATCH, shuffle=False)),
        Call(lambda: network.predict(problem.x, BATCH)),
    )


def torch_state(network: Any) -> dict[str, np.ndarray]:
    """The state of one of our networks as PyTorch's layers want it: channels first, two biases of an LSTM."""
    from streamnorm import nn

    state, shape = {}, None
    for place, layer in enumerate(network):
        own = {name: array for name, array in layer.state_dict().items() if name != "num_batches_tracked"}
        if isinstance(layer, nn.Conv2D):
            own["weight"] = own["weight"].transpose(3, 2, 0, 1)
            shape = layer.out_channels
        elif isinstance(layer, nn.LSTM):
            bias = own.pop("bias")
            own = {f"{name}_l0": array for name, array in own.items()}
            own |= {"bias_ih_l0": bias, "bias_hh_l0": np.zeros_like(bias)}
        elif isinstance(layer, nn.Dense) and shape is not None:
            side = round((layer.in_features // shape) ** 0.5)
            weight = own["weight"].reshape(-1, side, side, shape).transpose(0, 3, 1, 2)
            own["weight"], shape = weight.reshape(own["weight"].shape), None
        state |= {f"{place}.{name}": np.array(array) for name, array in own.items()}
    return state


def _torch_training(problem: Problem, channels_last: bool, dtype: Any = np.float32) -> tuple[Any, Callable, list]:
    """PyTorch's network, a function that trains it on one batch and returns the loss, and the batches."""
    import torch

    model = problem.model
    network = model.torch_layers(model.size).to(getattr(torch, np.dtype(dtype).name))
    state = {name: torch.tensor(array) for name, array in torch_state(problem.network(dtype)).items()}
    network.load_state_dict(state, strict=False)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if model.channels_last:
        network = network.to(memory_format=layout)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("bias_hh" not in name)
    batches = []
    for x, y in problem.batches():
        x, y = (each.astype(dtype) if each.dtype.kind == "f" else each for each in (x, y))
        inputs = torch.tensor(x.transpose(0, 3, 1, 2) if model.channels_last else x)
        batches.append((inputs.contiguous(memory_format=layout) if model.channels_last else inputs, torch.tensor(y)))
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    measure = getattr(torch.nn, model.torch_loss)()
    return network, torch_step(network, measure, optimizer), batches


def _torch(channels_last: bool) -> Implementation:
    def calls(problem: Problem, threads: int) -> Calls:
        import torch

        network, step, batches = _torch_training(problem, channels_last)

        def epoch():
            network.train()
            for x, y in batches:
                step(x, y)

        def predict():
            network.eval()
            with torch.inference_mode():
                for x, _ in batches:
                    network(x)

        return Calls(*(Call(each, lambda: torch_threads(threads)) for each in (epoch, predict)))

    def losses(problem: Problem, threads: int) -> list[float]:
        _, step, batches = _torch_training(problem, channels_last, np.float64)
        with torch_threads(threads):
            return [step(x, y).item() for x, y in batches]

    return Implementation(calls, losses, ("torch",), lambda model: model.channels_last or not channels_last)


IMPLEMENTATIONS: dict[str, Implementation] = {
    "streamnorm": Implementation(_our_calls, lambda problem, threads: _losses(problem, problem.network())),
    "torch": _torch(False),
    "torch_channels_last": _torch(True),
}


def missing() -> dict[str, str]:
    """Implementations that are left out, and the first module that each of them lacks."""
    return {name: lacking(each.modules)[0] for name, each in IMPLEMENTATIONS.items() if lacking(each.modules)}


def available(model: Model | None = None) -> list[str]:
    """Those that can be run, with this model."""
    without = missing()
    return [
        name for name, each in IMPLEMENTATIONS.items() if name not in without and (model is None or each.only(model))
    ]


def check(name: str, model: Model, threads: int = 1) -> None:
    """Compare the losses of the first steps with the truth.

    Raises
    ------
    WrongAnswer
        A loss is off by more than `LOSS_TOLERANCE`.
    """
    problem = Problem(model, CHECK_STEPS)
    found = IMPLEMENTATIONS[name].losses(problem, threads)
    for step, (loss, true) in enumerate(zip(found, problem.truth, strict=True)):
        if not abs(loss - true) <= LOSS_TOLERANCE * true:
            raise WrongAnswer(f"{model.label} by {name}: loss {loss} before step {step}, where {true} is right")
