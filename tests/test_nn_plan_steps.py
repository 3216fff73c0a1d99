"""Plans and steps: the same training in one go and layer by layer, for networks that are written down and drawn."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import SEED, small

from streamnorm import nn
from streamnorm.nn._plan import Plan
from streamnorm.nn._steps import Steps

SUM_RTOL = 1e-14  # losses of batches are means in one and sums in the other; what is trained has the same bits
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def images_to_classes(dtype):
    rng = np.random.default_rng(2)
    layers = [nn.BatchNorm(2, dtype=dtype), nn.InstanceNorm(2, affine=True, dtype=dtype), nn.ReLU(), nn.Flatten()]
    layers += [nn.Dropout(0.2, random_state=rng), nn.Dense(30, 11, dtype=dtype, random_state=rng), nn.Sigmoid()]
    layers += [nn.RMSNorm(11, dtype=dtype), nn.Dense(11, 3, bias=False, dtype=dtype, random_state=rng)]
    return nn.Sequential(layers), (2, 5, 3), nn.CrossEntropyLoss()


def codes_to_number(dtype):
    rng = np.random.default_rng(3)
    layers = [nn.ColumnEmbedding(5, 3, columns=2, dtype=dtype, random_state=rng), nn.LayerNorm(8, dtype=dtype)]
    layers += [nn.Dense(8, 6, dtype=dtype, random_state=rng), nn.GroupNorm(2, 6, dtype=dtype), nn.Tanh()]
    return nn.Sequential([*layers, nn.Dense(6, 1, dtype=dtype, random_state=rng)]), (4,), nn.HuberLoss(0.5)


def rows_to_numbers(dtype):
    return small(dtype, outputs=2, dropout=0.3), (7,), nn.MSELoss()


def rows_to_chance(dtype):
    return small(dtype, norm=False), (7,), nn.BCEWithLogitsLoss()


def convolved_images_to_classes(dtype):
    rng = np.random.default_rng(4)
    layers = [nn.Conv2D(2, 5, 3, dtype=dtype, random_state=rng), nn.BatchNorm(5, channel_axis=-1, dtype=dtype)]
    layers += [nn.ReLU(), nn.MaxPool2D(2, padding="same"), nn.Tanh()]
    layers += [nn.Conv2D(5, 3, (2, 3), (1, 2), (0, 1), False, dtype=dtype, random_state=rng), nn.ReLU()]
    layers += [nn.MaxPool2D(2, 1), nn.Dropout(0.1, random_state=rng), nn.Flatten()]
    layers += [nn.Dense(6, 3, dtype=dtype, random_state=rng)]
    return nn.Sequential(layers), (9, 8, 2), nn.CrossEntropyLoss()


def words_to_chance(dtype):
    rng = np.random.default_rng(5)
    layers = [nn.Embedding(11, 6, dtype=dtype, random_state=rng), nn.LSTM(6, 7, True, dtype=dtype, random_state=rng)]
    layers += [nn.LayerNorm(7, dtype=dtype), nn.LSTM(7, 5, dtype=dtype, random_state=rng), nn.Tanh()]
    return nn.Sequential([*layers, nn.Dense(5, 1, dtype=dtype, random_state=rng)]), (13,), nn.BCEWithLogitsLoss()


def series_to_number(dtype):
    rng = np.random.default_rng(6)
    layers = [nn.LSTM(3, 8, dtype=dtype, random_state=rng), nn.BatchNorm(8, dtype=dtype)]
    return nn.Sequential([*layers, nn.Dense(8, 1, dtype=dtype, random_state=rng)]), (7, 3), nn.MSELoss()


NETWORKS = [images_to_classes, codes_to_number, rows_to_numbers, rows_to_chance]
NETWORKS += [convolved_images_to_classes, words_to_chance, series_to_number]
STEPPERS = {
    "sgd": lambda: nn.SGD(0.1, weight_decay=0.01),
    "nesterov": lambda: nn.SGD(0.05, 0.9, nesterov=True),
    "adam": lambda: nn.Adam(nn.CosineSchedule(0.02, 12, warmup=3), clip_norm=0.7),
    "adamw": lambda: nn.AdamW(0.01, clip_value=0.05),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("optimizer", STEPPERS)
@pytest.mark.parametrize("make", NETWORKS)
@kinds
def test_plans_and_steps_train_to_the_same_bits(make, optimizer, dtype, weighted):
    found = []
    for kind in (Plan, Steps):
        network, shape, loss = make(dtype)
        rng = np.random.default_rng(SEED)
        x = rng.normal(size=(65, *shape)).astype(dtype)
        if make is codes_to_number:
            x[:, 2:] = rng.integers(0, 5, (65, 2))
        if make is words_to_chance:
            x[...] = rng.integers(0, 11, x.shape)
        classes = isinstance(loss, nn.CrossEntropyLoss)
        target = rng.integers(0, 3, 65) if classes else rng.uniform(size=(65, *network.predict(x[:1]).shape[1:]))
        y = loss.targets(target, (65, *network.predict(x[:1]).shape[1:]), np.dtype(dtype))
        weight = rng.uniform(0, 2, 65).astype(dtype) if weighted else None
        stepper = STEPPERS[optimizer]()
        runner = kind(list(network), shape, 16, loss=loss, optimizer=stepper)
        numbers = [runner.train(x, y, 16, rng.permutation(65), weight), runner.train(x, y, 16, None, weight)]
        numbers += [runner.evaluate(x, y, weight)]
        state = network.state_dict() | stepper.state_dict()
        gradients = {f"{name}.grad": parameter.grad for name, parameter in network.named_parameters()}
        found.append((numbers, state | gradients | {"y": runner.forward(x)}))
    (numbers, arrays), (others, expected) = found
    np.testing.assert_allclose(numbers, others, rtol=SUM_RTOL)
    for key, value in expected.items():
        np.testing.assert_array_equal(arrays[key], value, err_msg=key)


def test_what_trains_is_a_plan_where_there_is_one():
    assert type(small().compile().runner((7,), 32)) is Plan
    assert type(small().runner((7,), 32)) is Plan  # to predict
    mixed = nn.Sequential([nn.BatchNorm(3), nn.Dense(3, 1, dtype=np.float64)])
    assert type(mixed.compile().runner((3,), 32)) is Steps
    x = np.random.default_rng(0).normal(size=(50, 3))
    assert math.isfinite(mixed.fit(x, x[:, 0], epochs=2)["loss"][-1])


# ---------------------------------------------------------------- networks that are drawn


def drawn_layers(draw, shape, dtype):
    """Layers of all kinds that fit samples of the shape, and the shape of what they make."""
    layers = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["dense", "dense", "map", "drop", "flatten", "batch", "rows", "group", "instance"]))
        some, seed = draw(st.booleans()), draw(st.integers(0, 9))
        edge = draw(st.sampled_from([1, len(shape)]))
        if kind == "dense":
            layers += [nn.Flatten()] if len(shape) > 1 else []
            layers += [nn.Dense(math.prod(shape), seed + 1, some, dtype=dtype, random_state=seed)]
            shape = (seed + 1,)
        elif kind == "flatten":
            layers += [nn.Flatten()]
            shape = (math.prod(shape),)
        elif kind == "map":
            layers += [draw(st.sampled_from([nn.ReLU, nn.Tanh, nn.Sigmoid]))()]
        elif kind == "drop":
            layers += [nn.Dropout(seed / 9, random_state=seed)]
        elif kind == "batch":
            axis = draw(st.integers(1, len(shape)))
            momentum = None if seed < 3 else 0.1
            layers += [nn.BatchNorm(shape[axis - 1], momentum=momentum, affine=some, channel_axis=axis, dtype=dtype)]
        elif kind == "rows":
            n = draw(st.integers(1, len(shape)))
            layers += [(nn.LayerNorm if some else nn.RMSNorm)(shape[-n:], dtype=dtype)]
        else:
            channels = shape[edge - 1]
            groups = channels if some else 1
            layers += [
                nn.GroupNorm(groups, channels, channel_axis=edge, dtype=dtype)
                if kind == "group"
                else nn.InstanceNorm(channels, affine=some, channel_axis=edge, dtype=dtype)
            ]
    return layers, shape


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_drawn_plans_and_steps_agree_also_on_what_they_refuse(data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    sample = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    layers, shape = drawn_layers(data.draw, sample, dtype)
    loss, stepper = nn.HuberLoss(0.5), STEPPERS[data.draw(st.sampled_from(sorted(STEPPERS)))]
    if not Plan.covers(layers, sample):
        return
    rows, batch = data.draw(st.sampled_from([0, 1, 2, 7, 33])), data.draw(st.sampled_from([1, 2, 8, 2**70]))
    rng = np.random.default_rng(SEED)
    of_network = nn.Sequential(layers).dtype
    x, y = (rng.normal(size=(rows, *each)).astype(of_network) for each in (sample, shape))
    weight = rng.integers(0, 3, rows).astype(of_network) if data.draw(st.booleans()) else None
    order = rng.permutation(rows) if data.draw(st.booleans()) else None
    found = []
    for kind in (Plan, Steps):
        network, optimizer = nn.Sequential(copy.deepcopy(layers)), stepper()
        runner = kind(list(network), sample, 8, loss=loss, optimizer=optimizer)
        try:
            numbers = [*runner.train(x, y, batch, order, weight), *runner.train(x, y, batch, None, weight)]
        except ValueError:
            found.append(None)
            continue
        numbers += runner.evaluate(x, y, weight)
        arrays = network.state_dict() | optimizer.state_dict() | {"y": runner.forward(x)}
        found.append((numbers, arrays | {f"{i}": p.grad for i, p in enumerate(network.parameters()) if rows}))
    if None in found:
        assert found == [None, None]
        return
    (numbers, arrays), (others, expected) = found
    np.testing.assert_allclose(numbers, others, rtol=1e-12)
    for key, value in expected.items():
        np.testing.assert_array_equal(arrays[key], value, err_msg=key)
