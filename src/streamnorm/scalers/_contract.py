"""scikit-learn's contract: parameters by name, clone, tags, feature names, and set_output.

Design: the contract is met by duck typing. Deriving from BaseEstimator was turned down: it would make
scikit-learn and SciPy dependencies, and every import of streamnorm wait for theirs.
"""

import inspect
import sys
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ..errors import not_fitted_error
from ..summary import Summary


class Parameters:
    """What scikit-learn asks of any estimator: parameters by name, a representation, and whether it is fitted."""

    @classmethod
    def _param_names(cls) -> tuple[str, ...]:
        return tuple(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    @classmethod
    def _class_name(cls) -> str:
        """The name of the class of ours that this is, or that it derives from."""
        return next(
            c.__name__ for c in cls.__mro__ if c.__module__.partition(".")[0] == __package__.partition(".")[0]
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in self._param_names()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; what they are good for is checked in :meth:`fit`."""
        known = self._param_names()
        for name in params:
            if name not in known:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self!r}. Valid parameters are: "
                    f"{list(known)!r}."
                )
        self.__dict__.update(params)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{k}={v!r}"
            for k, v in self.get_params(deep=False).items()
            if repr(v) != repr(defaults[k].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_is_fitted__(self) -> bool:
        return "n_features_in_" in self.__dict__

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise not_fitted_error(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate "
                "arguments before "
                f"using this estimator."
            )


class ScikitLearnContract(Parameters):
    """What scikit-learn asks of a transformer, without importing it until it asks."""

    summary_: Summary
    n_features_in_: int

    def __sklearn_is_fitted__(self) -> bool:
        return "summary_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
            input_tags=InputTags(allow_nan=True),
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the columns that come out: those that went in.

        Parameters
        ----------
        input_features : array-like of str, or None
            The names that went in; None for those of fit, or x0, x1, ...

        Returns
        -------
        ndarray of str objects
        """
        self._check_fitted()
        names = getattr(self, "feature_names_in_", None)
        if input_features is None:
            return np.array([f"x{j}" for j in self.summary_], dtype=object) if names is None else names.copy()
        given = np.asarray(input_features, dtype=object)
        if names is not None and not set(names) <= set(given):
            raise ValueError("input_features is not equal to feature_names_in_")
        if names is None and len(given) != self.n_features_in_:
            raise ValueError(
                f"input_features should have length equal to number of features ({self.n_features_in_}), "
                f"got {len(given)}"
            )
        return given

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what :meth:`transform` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None
            "default": the kind that went in. None: leave the choice as it is.
        """
        if transform not in (None, "default", "pandas", "polars"):
            raise ValueError(f"transform must be 'default', 'pandas', 'polars' or None, got {transform!r}")
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def _wrap(self, result: Any, X: Any) -> Any:
        """The result as the frame that set_output, or scikit-learn's own configuration, asks for."""
        target = getattr(self, "_sklearn_output_config", {}).get("transform")
        if target is None and "sklearn" in sys.modules:
            target = sys.modules["sklearn"].get_config().get("transform_output")
        if target == "pandas":
            return _to_pandas(result, X, self)
        return _to_polars(result, self) if target == "polars" else result


def _output_names(result: np.ndarray, scaler: ScikitLearnContract) -> list[str]:
    names = list(scaler.get_feature_names_out())
    return names if len(names) == result.shape[1] else [f"x{j}" for j in range(result.shape[1])]


def _to_pandas(result: Any, X: Any, scaler: ScikitLearnContract) -> Any:
    import pandas

    if isinstance(result, np.ndarray):
        return pandas.DataFrame(
            result, index=getattr(X, "index", None), columns=_output_names(result, scaler)
        )
    return result.to_pandas() if hasattr(result, "to_pandas") else result


def _to_polars(result: Any, scaler: ScikitLearnContract) -> Any:
    import polars

    if isinstance(result, np.ndarray):
        return polars.DataFrame(result, schema=_output_names(result, scaler), orient="row")
    if isinstance(result, pa.Table | pa.RecordBatch):
        return polars.from_arrow(result)
    return polars.from_pandas(result) if type(result).__module__.startswith("pandas") else result
