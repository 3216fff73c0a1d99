"""What the data says, for people: descriptions, advice, drift, and pages that show them.

``streamnorm.report(source, sink)`` writes a page: see :func:`streamnorm.report.pages.report`.
"""

# Design: `streamnorm.report` is the function and the package of its parts; a module may be called if its class says so.
# Turned down: another name for one of the two, which would have to be looked up each time.

import sys
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from .pages import report

        return report(*args, **kwargs)

    @property
    def __signature__(self) -> Signature:
        from .pages import report

        return signature(report)


sys.modules[__name__].__class__ = _Callable
