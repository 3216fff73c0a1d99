"""What ``streamnorm inspect`` prints of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .console import one_line

WIDTH = 80


def as_text(said: Mapping[str, Any]) -> str:
    """What `inspect` said for people."""
    kind = {"regressor": "a regressor", "sequential": "a network"}[said["kind"]]
    lines = [f"{one_line(said['path'])}: {kind} of {len(said['layers'])} layers, {said['parameters']:,} parameters"]
    lines.append(f"saved by streamnorm {said['streamnorm']}, digest {said['digest']}")
    if said["kind"] == "regressor":
        lines += ["", *_of_regressor(said)]
    lines += ["", "layers"]
    lines += [f"  {position:>3}  {line}" for position, layer in enumerate(said["layers"])
              for line in layer.splitlines()]  # fmt: skip
    return "\n".join(lines)


def _of_regressor(said: Mapping[str, Any]) -> list[str]:
    params, history = said["params"], said["history"]
    numeric = [name for name in said["features"] if name not in said["embedded"]]
    missing = "missing values imputed" if said["imputed"] else "missing values are an error"
    lines = _listed("predicts", said["targets"] or ["one target without a name"])
    lines += _listed(f"from {len(numeric)} numbers" if said["embedded"] else "from", numeric)
    if said["embedded"]:
        lines += _listed(f"and {len(said['embedded'])} strings", said["embedded"])
    lines += _listed("inputs", [f"scaler {_shown(params['scaler'])}", missing])
    lines += _listed("training", [
        f"loss {_shown(params['loss'])}", f"target scaler {_shown(params['target_scaler'])}",
        f"optimizer {_shown(params['optimizer'])}", f"batch size {params['batch_size']}",
        f"{said['epochs']} epoch{'' if said['epochs'] == 1 else 's'}",
    ])  # fmt: skip
    for name, losses in history.items():
        if losses:
            best = min(range(len(losses)), key=losses.__getitem__)
            lines += _listed(name, [f"{losses[0]:.4g} at first", f"{losses[-1]:.4g} at last",
                                    f"{losses[best]:.4g} at best (epoch {best + 1})"])  # fmt: skip
    return lines


def _shown(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else one_line(repr(value))


def _listed(label: str, items: Sequence[str], indent: int = 18) -> list[str]:
    """A label and what belongs to it, in lines of at most 80 characters where the items allow it."""
    lines, line = [], f"{label:<{indent}}"
    for i, item in enumerate(items):
        text = one_line(item) + ("," if i < len(items) - 1 else "")
        if len(line) + len(text) > WIDTH and line.strip() and len(line) > indent:
            lines.append(line.rstrip())
            line = " " * indent
        line += text + " "
    return [*lines, line.rstrip()]
