"""What scikit-learn's meta-estimators ask of a scaler: who gets sample_weight, which callbacks watch a fit, and
whether it has ``partial_fit`` at all.

Design: each of these exists for scikit-learn alone, so that it is made from scikit-learn's own parts at the moment it
is asked for, which is when scikit-learn is loaded. Where an installed version has no such thing (callbacks came with
1.9), the attribute is missing, as it is from that version's own scalers. Turned down: leaving callbacks out, because
scikit-learn's StandardScaler is then no stand-in for ours in a pipeline that shows its progress.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any, Self

from ..errors import NotMergeableError

WEIGHTED = ("fit", "partial_fit")  # the methods that take sample_weight
_KEEP = "$UNCHANGED$"  # scikit-learn's own default, by value


class NoPartialFit(NotMergeableError, AttributeError):
    """``partial_fit`` of a scaler with exact quantiles: not there for `hasattr`, and explained for who calls it."""


class PartialFit:
    """A method that is not there where exact quantiles take more than one pass.

    Design: scikit-learn's `available_if` in effect, so that ``hasattr(scaler, "partial_fit")`` is the truth, but what
    is raised is also the NotMergeableError that names the way out.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, scaler: Any, owner: type) -> Any:
        if scaler is None:
            return self._function
        if _surely_rereads(scaler):
            scaler._refuse_merging("partial_fit adds to what was seen, and", NoPartialFit)
        return MethodType(self._function, scaler)


def _surely_rereads(scaler: Any) -> bool:
    try:
        return bool(scaler._rereads())
    except (AttributeError, TypeError, ValueError):
        return False  # parameters that cannot be used, or none yet: the call itself says so


class Borrowed:
    """A method of scikit-learn's mixin for callbacks, where it is loaded and has one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, scaler: Any, owner: type) -> Any:
        mixin = getattr(sys.modules.get("sklearn.callback"), "CallbackSupportMixin", None)
        if mixin is None:
            raise AttributeError(f"{owner.__name__!r} has no {self._name!r}: scikit-learn 1.9 or later must be loaded")
        method = getattr(mixin, self._name)
        return method if scaler is None else MethodType(method, scaler)


class Routing:
    """Metadata routing and callbacks."""

    def get_metadata_routing(self) -> Any:
        """Which methods ask for sample_weight, for scikit-learn's metadata routing.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRequest
        """
        if "_metadata_request" in self.__dict__:
            return copy.deepcopy(self.__dict__["_metadata_request"])
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=type(self).__name__)
        for method in WEIGHTED:
            if hasattr(self, method):
                getattr(request, method).add_request(param="sample_weight", alias=None)
        return request

    def set_fit_request(self, *, sample_weight: bool | None | str = _KEEP) -> Self:
        """Say whether ``fit`` wants sample_weight from the meta-estimator that this scaler is in.

        Parameters
        ----------
        sample_weight : bool, None or str
            True: it is passed on. False: it is not. None: giving it is an error. A name: what the meta-estimator calls
            it. Left out: as it was.

        Returns
        -------
        self

        Raises
        ------
        RuntimeError
            If scikit-learn's metadata routing is not enabled.
        """
        return self._request("fit", sample_weight)

    def set_partial_fit_request(self, *, sample_weight: bool | None | str = _KEEP) -> Self:
        """Say whether ``partial_fit`` wants sample_weight; as :meth:`set_fit_request`."""
        return self._request("partial_fit", sample_weight)

    def _request(self, method: str, alias: bool | None | str) -> Self:
        from sklearn import get_config

        if not get_config().get("enable_metadata_routing"):
            raise RuntimeError(
                f"set_{method}_request needs metadata routing: enable it by sklearn.set_config("
                "enable_metadata_routing=True)"
            )
        if not (isinstance(alias, str) and alias == _KEEP):
            request = self.get_metadata_routing()
            getattr(request, method).add_request(param="sample_weight", alias=alias)
            self._metadata_request = request
        return self

    set_callbacks = Borrowed("set_callbacks")
    _init_callback_context = Borrowed("_init_callback_context")


def watched(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Let scikit-learn's callbacks, if any were set, know when a fit begins and ends, as one task."""

    @wraps(fit)
    def watched_fit(self: Any, X: Any, y: Any = None, **options: Any) -> Any:
        if not {"_skl_callbacks", "_parent_callback_ctx"} & self.__dict__.keys():
            return fit(self, X, y, **options)
        from sklearn.callback import with_callbacks

        return with_callbacks(_fit_as_one_task)(self, fit, X, y, options)

    return watched_fit


def _fit_as_one_task(scaler: Any, fit: Callable[..., Any], X: Any, y: Any, options: dict[str, Any]) -> Any:
    told = {"estimator": scaler, "X": X, "y": y, "metadata": {"sample_weight": options.get("sample_weight")}}
    context = scaler._init_callback_context()
    context.call_on_fit_task_begin(**told)
    fit(scaler, X, y, **options)
    context.call_on_fit_task_end(**told, reconstruction_attributes={})
    return scaler
