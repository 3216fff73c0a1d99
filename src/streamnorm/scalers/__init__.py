"""Scalers: which statistics a column needs, and which affine map they give.

:class:`StandardScaler`, :class:`MinMaxScaler`, :class:`MaxAbsScaler` and :class:`RobustScaler` have
scikit-learn's parameters, fitted attributes and results; :class:`ColumnScaler` gives each column its own. All
are fitted on data of any size, merge, and travel as JSON.
"""

from ._base import BaseScaler
from ._columns import ColumnScaler
from ._methods import METHODS, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from ._normalizer import Normalizer
from ._select import select_columns
from ._transform import AffineMap

__all__ = [
    "CLASSES",
    "METHODS",
    "AffineMap",
    "BaseScaler",
    "ColumnScaler",
    "MaxAbsScaler",
    "MinMaxScaler",
    "Normalizer",
    "RobustScaler",
    "StandardScaler",
    "select_columns",
]

# What a saved state may name.
_all: list[type[BaseScaler]] = [*METHODS.values(), Normalizer, ColumnScaler]
CLASSES = {cls.__name__: cls for cls in _all}

for _cls in CLASSES.values():
    _cls.__module__ = __name__  # a pickle names the public module, whatever the files behind it are called
del _all, _cls
