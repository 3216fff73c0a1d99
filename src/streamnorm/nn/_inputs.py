"""Arrays on their way into the kernels, and the checks that name what is wrong with them."""

import math
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..errors import DataError
from ._module import Parameter

BLOCK_VALUES = 1 << 18  # looked at together when an array is searched for what is not finite


def as_type(x: ArrayLike, dtype: np.dtype) -> np.ndarray:
    """x as a C-contiguous, aligned array of the type: itself, if it is one."""
    array = np.asarray(x)
    if array.dtype != dtype and array.dtype.kind not in "biuf":
        raise TypeError(f"numbers are wanted, got an array of {array.dtype}")
    array = np.asarray(array, dtype, order="C")  # which keeps an array of no dimensions one
    return array if array.flags.aligned else array.copy()


def as_floats(x: ArrayLike) -> np.ndarray:
    """x as a C-contiguous array of float32 or float64: of its own type if it can be."""
    array = np.asarray(x)
    if array.dtype == np.float16:
        return as_type(array, np.dtype(np.float32))
    return as_type(array, array.dtype if array.dtype in (np.float32, np.float64) else np.dtype(np.float64))


def check_wide_dtype(dtype: DTypeLike) -> np.dtype:
    """The type of parameters that are multiplied: float32 or float64."""
    found = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64, got {found}")
    return found


def generator_of(random_state: Any) -> np.random.Generator:
    """A generator from a seed, from None for another one every time, or the generator that is given."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        wanted = "an int, a numpy.random.Generator or None is wanted"
        raise type(error)(f"random_state is {random_state!r}, and {wanted}") from None


def draw_uniform(parameters: Sequence[Parameter | None], fan_in: int, random_state: Any) -> None:
    """Fill parameters between -1 and 1 over the root of fan_in, one after the other."""
    rng, bound = generator_of(random_state), 1 / math.sqrt(fan_in)
    for parameter in parameters:
        if parameter is not None:
            parameter[...] = rng.uniform(-bound, bound, parameter.shape)


def into(out: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """The values, in `out` if that is given."""
    if out is None:
        return values
    out[...] = values
    return out


def seed_of(random_state: Any) -> int:
    """A seed of 63 bits."""
    if random_state is None:
        return secrets.randbits(63)
    return int(generator_of(random_state).integers(1 << 63))


def unmasked(x: ArrayLike, name: str) -> np.ndarray:
    """x as an array; masked values, which would come out from under their mask, are refused."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise DataError(f"{name} has masked values: leave such rows out or fill in a value first")
    return np.asarray(x)


def check_finite(array: np.ndarray, name: str) -> None:
    """Raise a DataError that says where the first value is, by rows, that is NaN or infinite."""
    if array.dtype.kind not in "fc" or not array.size:
        return
    rows = max(1, BLOCK_VALUES // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        block = array[start : start + rows]
        if np.isfinite(block).all():
            continue
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(block))[0])
        value = block[place]
        found = "NaN" if np.isnan(value) else "an infinite value"
        row, rest = start + place[0], place[1:]
        at = f"row {row}"
        if len(rest) == 1:
            at += f", column {rest[0]}"
        elif rest:
            at += f", position {rest}"
        column = rest[0] if len(rest) == 1 else None
        raise DataError(
            f"{name} has {found} in {at}, and training on it would make every parameter NaN: "
            "leave such rows out or fill in a value first",
            column=column,
        )
