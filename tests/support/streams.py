"""Streams that are hard for a quantile sketch, and ways to feed them in parts."""

import numpy as np

from streamnorm._sketch import QuantileSketch


def pareto(rng, n):
    return rng.pareto(0.5, n)


def zoom_in(rng, n):
    """0, n, 1, n - 1, ...: each value falls into the middle of those before it."""
    half = np.arange((n + 1) // 2, dtype=float)
    return np.stack([half, n - half], axis=1).ravel()[:n]


def organ_pipe(rng, n):
    up = np.arange(n // 2, dtype=float)
    return np.concatenate([up, up[::-1], np.zeros(n - 2 * (n // 2))])


STREAMS = {
    "sorted": lambda rng, n: np.arange(n, dtype=float),
    "reversed": lambda rng, n: -np.arange(n, dtype=float),
    "random": lambda rng, n: rng.normal(size=n),
    "organ pipe": organ_pipe,
    "zoom in": zoom_in,
    "all equal": lambda rng, n: np.full(n, 3.7),
    "two values": lambda rng, n: rng.integers(0, 2, n).astype(float),
    "heavy duplicates": lambda rng, n: rng.geometric(0.1, n).astype(float),
    "pareto": pareto,
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "huge": lambda rng, n: rng.choice([-1.0, 1.0], n) * rng.uniform(1e307, 1.7e308, n),
    "denormal": lambda rng, n: rng.integers(-1000, 1000, n) * 5e-324,
    "infinities": lambda rng, n: rng.choice([-np.inf, -0.0, 0.0, 1.0, np.inf], n),
    "periodic": lambda rng, n: np.tile(np.arange(64.0), n // 64 + 1)[:n],
}


def split(values, lengths):
    """Cut values into pieces of these lengths, over and over."""
    at, i = 0, 0
    while at < len(values):
        yield values[at : at + lengths[i % len(lengths)]]
        at += lengths[i % len(lengths)]
        i += 1


def merge_left(parts):
    whole = QuantileSketch(parts[0].error, parts[0].seed)
    for part in parts:
        whole.merge(part)
    return whole


def merge_balanced(parts):
    while len(parts) > 1:
        pairs = [left.copy().merge(right) for left, right in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[2 * len(pairs) :]
    return parts[0]


def merge_through_bytes(parts):
    whole = parts[-1].copy()
    for part in parts[:-1]:
        whole = QuantileSketch.from_bytes(whole.to_bytes()).merge(QuantileSketch.from_bytes(part.to_bytes()))
    return whole
