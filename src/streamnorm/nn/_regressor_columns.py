"""A regressor's predictions from columns as a file has them, a batch at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..features import MISSING
from ._regressor_scaling import infinite_in, own_units, too_large


class UnfitValue(Exception):
    """A value that nothing can be predicted from."""

    def __init__(self, message: str, column: Any, row: int) -> None:
        super().__init__(message)
        self.column, self.row = column, row


class ColumnPredictor:
    """Predicts from arrays of the columns that a fitted regressor reads. Any thread may call.

    Attributes
    ----------
    features : FeatureMap
    names : list of str
        The columns, in the order in which their arrays are given.
    outputs : int
    row_bytes : int
        What a row of inputs and predictions takes while it is worked on, without the arrays.
    """

    def __init__(self, model: Any) -> None:
        self.features, self.outputs = model.features_, model.n_outputs_
        self.names = [str(name) for name in self.features.names]
        self._network, self._scaler = model.network_, model.target_scaler_
        made = 2 * self.features.dtype.itemsize * self.features.width + 24 * self.outputs
        self.row_bytes = 8 * len(self.names) + made

    def predict(self, arrays: Sequence[Any], allow_missing: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Predictions in the target's own units.

        Parameters
        ----------
        arrays : sequence of pyarrow.Array
            One for each of `names`.
        allow_missing : bool
            Whether a row may lack an input that the model does not impute; there is no prediction for it.

        Returns
        -------
        (float64 array of shape (n, outputs), bool array of shape (n,) or None)
            The predictions, and which rows have one; None if all have.

        Raises
        ------
        UnfitValue
            If a value is missing or infinite, or too large.
        DataError
            If a column cannot be taken as numbers.
        """
        rows = len(arrays[0])
        x = np.empty((rows, self.features.width), self.features.dtype)
        with np.errstate(over="ignore"):
            missing = self.features.fill(x, arrays)
        good: np.ndarray | None = None
        if missing is not None:
            if not allow_missing:
                raise UnfitValue(MISSING, *missing)
            good = np.logical_not(np.isnan(x).any(axis=1))
            x = x[good]
        infinite = infinite_in(x, self.features)
        if infinite is not None:
            column, row = infinite
            raise UnfitValue(too_large(x), column, row if good is None else int(np.flatnonzero(good)[row]))
        found = np.zeros((rows, self.outputs))
        if len(x):
            found[slice(None) if good is None else good] = self._in_own_units(x)
        return found, good

    def _in_own_units(self, x: np.ndarray) -> np.ndarray:
        return own_units(self._network.predict(x), self._scaler).reshape(len(x), self.outputs)
