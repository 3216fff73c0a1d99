"""The four methods by name, each a scaler of one column: from its statistics to a center and a scale.

Design: constancy is judged relative to the column's own size, as _elementary.py says of ranges and _standard.py of the
variance.

A column without a single value (all null or NaN) has NaN statistics and the identity as its map.
"""

from typing import Any

from ._elementary import _ElementaryScaler
from ._ranges import MaxAbsScaler, MinMaxScaler
from ._robust import RobustScaler
from ._standard import StandardScaler


def new_scaler(method: str, exact: bool = False, **params: Any) -> _ElementaryScaler:
    """The scaler of a method's name. Extrema are always exact, so that their scalers have no such parameter."""
    scaler = METHODS[method]
    params |= {"exact": True} if exact and "exact" in scaler._param_names() else {}
    return scaler(**params)


METHODS: dict[str, type[_ElementaryScaler]] = {
    "standard": StandardScaler,
    "minmax": MinMaxScaler,
    "maxabs": MaxAbsScaler,
    "robust": RobustScaler,
}
