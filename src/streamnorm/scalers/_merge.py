"""What scalers do to each other, and how they are kept: merging, subtracting, saving, pickling."""

from __future__ import annotations

import os
from typing import Any, Self

from .. import state
from ..errors import NotMergeableError
from ..locations import placed
from ..summary import FIT_AT_ONCE, Summary
from ._contract import ScikitLearnContract

_KEPT = ("_sklearn", "_skl_callbacks", "_metadata_request")  # what scikit-learn has hung on a scaler


class Merges(ScikitLearnContract):
    """The part of a scaler that joins it with others; `BaseScaler` has the rest."""

    summary_: Summary
    _adopt: Any
    _check_params: Any
    _rereads: Any

    def merge(self, other: Any, *, recount: bool = False) -> Self:
        """Take in what another scaler has seen, in place; the parameters stay this scaler's.

        Merging one that was never fitted changes nothing, and if the merge fails nothing is changed either.

        Parameters
        ----------
        other : scaler
            Of the same class, fitted on the same columns; left alone.
        recount : bool, default False
            Count files again that both have counted.

        Returns
        -------
        self

        Raises
        ------
        NotMergeableError
            If the classes, the columns or the ways of summarizing them differ, both have counted the same file,
            quantiles are exact, or one was made from given statistics.
        """
        if not self._merges_with(other):
            return self
        summary = self.summary_.copy() if self.__sklearn_is_fitted__() else Summary()
        summary.absorb(other.summary_, recount=recount)
        self._adopt(summary, named=summary.named)
        return self

    def _merges_with(self, other: Any) -> bool:
        """Whether there is anything to merge; NotMergeableError for what cannot be."""
        if not isinstance(other, Merges) or other._class_name() != self._class_name():
            raise NotMergeableError(
                f"a {type(self).__name__} merges with another one, not with a {type(other).__name__}"
            )
        self._refuse_merging("the exact quantiles of two parts do not add up, and")
        other._refuse_merging("the exact quantiles of two parts do not add up, and")
        if not other.__sklearn_is_fitted__():
            return False
        self._check_mergeable(other)
        self._check_params()
        return True

    def _refuse_merging(self, why: str, error: type[NotMergeableError] = NotMergeableError) -> None:
        if self.__sklearn_is_fitted__() and self.summary_.given:
            raise NotMergeableError(
                f"this {type(self).__name__} was made from given statistics, and how many rows they stand for is not "
                "known: fit one over the data to add to it"
            )
        if self._rereads():
            raise error(f"{why} {FIT_AT_ONCE}")

    def _check_mergeable(self, other: Any) -> None:
        """Raise NotMergeableError for what the summaries alone cannot tell."""

    def __add__(self, other: Any) -> Self:
        """A new scaler that has seen what both have, with this one's parameters; both are left alone."""
        if not isinstance(other, Merges):
            return NotImplemented
        new = type(self)(**self.get_params(deep=False))
        return new.merge(self).merge(other)

    def __sub__(self, other: Any) -> Self:
        """A new scaler that has seen what this one has without what the other has; both are left alone.

        Possible where it is exact: between ``StandardScaler(exact=True)``, whose mean and variance are then those of
        a fit over the other rows, bit for bit. Their minimum and maximum are not known.

        Raises
        ------
        NotMergeableError
            If the statistics are not exact, or the other is no part of this one.
        """
        if not isinstance(other, Merges):
            return NotImplemented
        if other._class_name() != self._class_name():
            raise NotMergeableError(
                f"a {type(self).__name__} is subtracted from another one, not a {type(other).__name__}"
            )
        self._check_fitted()
        new = type(self)(**self.get_params(deep=False))
        summary = self.summary_.copy()
        if other.__sklearn_is_fitted__():
            self._check_mergeable(other)
            summary.subtract(other.summary_)
        if summary.rows == 0:
            raise NotMergeableError("nothing would stay: the part is all that was counted")
        new._adopt(summary, named=summary.named)
        return new

    def save(self, path: str | os.PathLike[str], *, filesystem: Any = None) -> None:
        """Write the state to a JSON file or URI, whole or not at all; ``streamnorm.load(path)`` reads it."""
        state.save(self, placed(path, filesystem))

    def digest(self) -> str:
        """A hash of the statistics alone: equal statistics, equal digest, whatever the parameters and the files."""
        self._check_fitted()
        return state.digest(self.summary_)

    def __getstate__(self) -> dict[str, Any]:
        kept = {key: value for key, value in self.__dict__.items() if key.startswith(_KEPT)}
        if self.__sklearn_is_fitted__():
            return {"state": state.dumps(self), "kept": kept}
        return {"params": self.get_params(deep=False), "kept": kept}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        if "state" in saved:
            state.restore(saved["state"], where="the pickle", into=self)
        else:
            self.__dict__.update(saved["params"])
        self.__dict__.update(saved["kept"])
