"""scikit-learn's own tests of its four scalers, run with ours in their place; prints what became of each as JSON.

A program: it replaces classes in scikit-learn's modules, which no other test should meet.
"""

import functools
import importlib
import inspect
import json
import os
import sys
from types import TracebackType

import pytest
import sklearn
import sklearn.preprocessing
import sklearn.preprocessing._data
import sklearn.preprocessing.tests.test_data as suite

import streamnorm as sn

NAMES = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
REFUSAL = "Sparse data was passed for X, but dense data is required."


class Census:
    """A plugin that keeps the tests of the four scalers and notes how each ends."""

    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[str, str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if _is_about_scalers(item)]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> None:
        report = (yield).get_result()
        if report.when == "call":
            self.outcomes[item.name] = _outcome(item, call, report)
        elif report.outcome == "failed":
            self.outcomes[item.name] = ("failed", f"{report.when}: {call.excinfo.value!r}")


def _params(item: pytest.Item) -> dict:
    return getattr(getattr(item, "callspec", None), "params", {})


def _is_about_scalers(item: pytest.Item) -> bool:
    if "array_api" in item.name:  # other libraries' arrays, which SCIPY_ARRAY_API asks for
        return False
    source = inspect.getsource(item.function)
    names = {getattr(value, "__name__", type(value).__name__) for value in _params(item).values()}
    return any(name in source for name in NAMES) or bool(names & set(NAMES))


def _outcome(item: pytest.Item, call: pytest.CallInfo, report: pytest.TestReport) -> tuple[str, str]:
    """passed, skipped, sparse (refused as that) or failed, and what it said."""
    if report.outcome != "failed":
        return report.outcome, ""
    error = call.excinfo.value
    asked_for_dense = "sparse_container" in _params(item) and _params(item)["sparse_container"] is None
    if type(error) is TypeError and str(error).startswith(REFUSAL) and not asked_for_dense:
        return ("sparse" if _got_sparse(error.__traceback__) else "failed"), str(error)
    return "failed", f"{type(error).__name__}: {error}"[:300]


def _got_sparse(traceback: TracebackType | None) -> bool:
    """Whether what our code refused was sparse indeed."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    refused = traceback.tb_frame.f_locals.get("X") if traceback is not None else None
    return type(refused).__module__.startswith("scipy.sparse")


def main() -> None:
    for module in (sklearn.preprocessing, sklearn.preprocessing._data):
        for name in NAMES:
            setattr(module, name, getattr(sn, name))
    importlib.reload(suite)
    census = Census()
    options = ["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-c", os.devnull, "--pyargs", suite.__name__]
    with _quiet():
        pytest.main(options, plugins=[census])
    suite.RobustScaler = functools.partial(sn.RobustScaler, exact=True)
    suite.test_robust_scaler_unit_variance()  # raises if even exact quantiles do not pass
    print(json.dumps({"version": sklearn.__version__, "outcomes": census.outcomes}))


class _quiet:
    """Standard output goes to standard error, so that what is printed at the end stands alone."""

    def __enter__(self) -> None:
        self.out, sys.stdout = sys.stdout, sys.stderr

    def __exit__(self, *exc: object) -> None:
        sys.stdout = self.out


if __name__ == "__main__":
    main()
