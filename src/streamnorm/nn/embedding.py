"""Embeddings: tables that turn whole numbers into vectors that are trained."""

# Design: codes go to the kernels as numbers of the layer's type, as they come beside other columns; so float32 bounds
# the rows of a table. They are checked as they were given: the cast makes a code of 0.99999999. Turned down: kernels
# for each type of integer, to save a cast that costs less than what is looked up.

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _nn as kernels
from ._inputs import as_type, check_wide_dtype, generator_of, into
from ._module import Module, Parameter, accumulate, check_count

__all__ = ["ColumnEmbedding", "Embedding"]


class Embedding(Module):
    """A table that turns whole numbers into vectors that are trained, as ``torch.nn.Embedding``.

    Parameters
    ----------
    num_embeddings : int
        Rows of the table: codes are from 0 to num_embeddings - 1.
    embedding_dim : int
        Values of each vector.
    dtype : float32 or float64
        Of the table, and of the output. float32 tells whole numbers apart up to 2**24, which bounds num_embeddings.
    random_state : int, numpy.random.Generator or None
        What the first vectors are drawn from: normal, of standard deviation 1, as PyTorch's.

    Attributes
    ----------
    weight : Parameter of shape (num_embeddings, embedding_dim)

    See Also
    --------
    ColumnEmbedding : tables for the last columns of rows, beside columns that pass.

    Examples
    --------
    >>> layer = Embedding(3, 2)
    >>> layer.weight = [[0.0, 0.0], [1.0, -1.0], [2.0, -2.0]]
    >>> layer(np.array([[2, 1], [0, 2]]))
    array([[[ 2., -2.],
            [ 1., -1.]],
    <BLANKLINE>
           [[ 0.,  0.],
            [ 2., -2.]]], dtype=float32)
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: DTypeLike = np.float32,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = check_count(num_embeddings, "num_embeddings")
        self.embedding_dim = check_count(embedding_dim, "embedding_dim")
        self.dtype = check_wide_dtype(dtype)
        _check_told_apart(self.num_embeddings, self.dtype)
        shape = (self.num_embeddings, self.embedding_dim)
        self.register_parameter("weight", Parameter(np.zeros(shape, self.dtype)))
        self.reset_parameters(random_state)

    def reset_parameters(self, random_state: Any = None) -> None:
        """Draw the vectors anew."""
        self.weight[...] = generator_of(random_state).standard_normal(self.weight.shape)

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Codes x, of shape (N, ...), as vectors of shape (N, ..., embedding_dim); in `out` if that is given.

        Codes are whole numbers of any type of integers or floats.

        Raises
        ------
        ValueError
            If a code is no whole number from 0 to num_embeddings - 1.
        """
        given = np.asarray(x)
        codes = as_type(given, self.dtype)
        if codes.ndim == 0:
            raise ValueError(f"x has shape (), and {self!r} takes (N, ...)")
        wrong = _wrong(given, self.num_embeddings)
        if wrong is not None:
            raise ValueError(
                f"x has the code {given[wrong]} at {wrong}, and {self!r} takes whole numbers from 0 to "
                f"{self.num_embeddings - 1}"
            )
        rows = codes.reshape(-1, 1)
        shape = (*codes.shape, self.embedding_dim)
        y = kernels.embedding_forward(rows, self.weight[None]).reshape(shape)
        if out is not None:
            out[...] = y
            y = out
        self.__dict__["_kept"] = (codes,)
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last codes, which is 0, from that of their vectors; the weight's gradient adds up."""
        (codes,) = self._take_kept()
        dy = as_type(dy, self.dtype)
        shape = (*codes.shape, self.embedding_dim)
        if dy.shape != shape:
            raise ValueError(f"dy has shape {dy.shape}, and the last output had {shape}")
        rows = codes.reshape(-1, 1)
        dx, dweight = kernels.embedding_backward(dy.reshape(-1, self.embedding_dim), rows, self.weight[None])
        accumulate(self.weight, dweight[0])
        if out is not None:
            out[...] = 0
            return out
        return dx.reshape(codes.shape)

    def _shown(self) -> str:
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        return f"{self.num_embeddings}, {self.embedding_dim}{kind}"


class ColumnEmbedding(Module):
    """Tables that turn the last columns of the input, whole numbers, into vectors that are trained.

    Parameters
    ----------
    num_embeddings : int
        Rows of each table: codes are from 0 to num_embeddings - 1.
    embedding_dim : int
        Values of each vector.
    columns : int, default 1
        How many columns are codes, the last ones; each has a table of its own. The columns before them pass through.
    dtype : float32 or float64
        Of the tables, and of the output. float32 tells whole numbers apart up to 2**24, which bounds num_embeddings.
    random_state : int, numpy.random.Generator or None
        What the first vectors are drawn from: normal, of standard deviation 1, as PyTorch's.

    Attributes
    ----------
    weight : Parameter of shape (columns, num_embeddings, embedding_dim)

    Examples
    --------
    >>> layer = ColumnEmbedding(3, 2)
    >>> layer.weight = [[[0.0, 0.0], [1.0, -1.0], [2.0, -2.0]]]
    >>> layer(np.array([[0.25, 2], [0.75, 1]]))
    array([[ 0.25,  2.  , -2.  ],
           [ 0.75,  1.  , -1.  ]], dtype=float32)
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        columns: int = 1,
        *,
        dtype: DTypeLike = np.float32,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = check_count(num_embeddings, "num_embeddings")
        self.embedding_dim = check_count(embedding_dim, "embedding_dim")
        self.columns = check_count(columns, "columns")
        self.dtype = check_wide_dtype(dtype)
        _check_told_apart(self.num_embeddings, self.dtype)
        shape = (self.columns, self.num_embeddings, self.embedding_dim)
        self.register_parameter("weight", Parameter(np.zeros(shape, self.dtype)))
        self.reset_parameters(random_state)

    def reset_parameters(self, random_state: Any = None) -> None:
        """Draw the vectors anew."""
        self.weight[...] = generator_of(random_state).standard_normal(self.weight.shape)

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """x (N, d + columns) as (N, d + columns * embedding_dim); in `out` if that is given."""
        x = as_type(x, self.dtype)
        if x.ndim != 2 or x.shape[1] < self.columns:
            raise ValueError(f"x has shape {x.shape}, and {self!r} takes (N, {self.columns} or more)")
        codes = x[:, x.shape[1] - self.columns :]
        wrong = ~((codes >= 0) & (codes < self.num_embeddings) & (codes == np.floor(codes)))
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"x has the code {codes[row, column]:g} in row {row}, column {x.shape[1] - self.columns + column}, and "
                f"{self!r} takes whole numbers from 0 to {self.num_embeddings - 1}"
            )
        y = kernels.embedding_forward(x, self.weight, out=out)
        self.__dict__["_kept"] = (x,)
        return y

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, 0 for codes, from that of its output; the weight's gradient adds up."""
        (x,) = self._take_kept()
        dy = as_type(dy, self.dtype)
        width = x.shape[1] + self.columns * (self.embedding_dim - 1)
        if dy.shape != (len(x), width):
            raise ValueError(f"dy has shape {dy.shape}, and the last output had {(len(x), width)}")
        dx, dweight = kernels.embedding_backward(dy, x, self.weight)
        accumulate(self.weight, dweight)
        return into(out, dx)

    def _shown(self) -> str:
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        return f"{self.num_embeddings}, {self.embedding_dim}, columns={self.columns}{kind}"


def _check_told_apart(num_embeddings: int, dtype: np.dtype) -> None:
    if dtype == np.float32 and num_embeddings > 1 << 24:
        raise ValueError(f"num_embeddings is {num_embeddings}, and float32 tells codes apart up to {1 << 24}")


def _wrong(codes: np.ndarray, limit: int) -> tuple[int, ...] | None:
    """Where the first value is that is no whole number from 0 to below `limit`; None if there is none."""
    if not codes.size:
        return None
    if codes.dtype.kind != "f":
        if codes.min() >= 0 and codes.max() < limit:
            return None
        wrong = (codes < 0) | (codes >= limit)
    else:
        wrong = ~((codes >= 0) & (codes < limit) & (codes == np.floor(codes)))
    return tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else None
