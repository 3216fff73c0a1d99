"""The kernels of a network: the compiled ones, or until they are there the twins."""

from typing import Any

try:
    from .._nn import *  # noqa: F403
    from .._nn import dense_forward  # noqa: F401
except ImportError:
    from ..reference import network as _twins

    def _with_out(twin: Any) -> Any:
        def kernel(*args: Any, out: Any = None, threads: Any = None, **options: Any) -> Any:
            result = twin(*args, **options)
            if out is None:
                return result
            outs, results = (out, result) if isinstance(out, tuple) else ((out,), (result,))
            for to, values in zip(outs, results, strict=True):
                if to is not None:
                    to[...] = values
            return out

        return kernel

    for _name in _twins.__all__:
        if callable(getattr(_twins, _name)):
            _inplace = _name.endswith("_step")
            globals()[_name] = getattr(_twins, _name) if _inplace else _with_out(getattr(_twins, _name))
