"""What a comparison of scalers and norm layers found: figures by combination, tests of the differences, a verdict."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from ._compare_runs import Run
from .significance import corrected_t_test, holm

__all__ = ["Comparison", "Figures", "Pair"]

FORMAT = 1
NEAR = 0.1  # of the way from predicting the mean to the best combination's loss, where "reached" is
MOST_UNSEEN = 0.5  # in R²: a comparison that could not tell such a difference tells nothing
UNSTEADY = 5.0  # times the usual standard deviation of the runs: a spread that hides any difference
Combination = tuple[str, str]  # scaler and norm
_NONE = {"scaler": "unscaled", "norm": "no norm"}


@dataclass(frozen=True, slots=True)
class Figures:
    """The runs of one combination of scaler and norm, in numbers.

    Attributes
    ----------
    scaler, norm : str
    r2 : float
        Mean score of its runs: 1 less the squared error over rows that were held out, relative to the variance of the
        target over all rows; -1 for a run that diverged.
    std, worst : float
        Standard deviation and minimum of the scores of all runs.
    fold_spread, seed_spread : float or None
        Standard deviation over the folds, within a seed; of the means of the folds, over the seeds (None: one seed).
    rmse : float or None
        Root of the mean squared error in the target's units, over runs that did not diverge; None with several targets.
    runs, diverged : int
    loss : float or None
        Of training in the last epoch: mean of the runs that did not diverge.
    steps : int or None
        Steps of the optimizer until the loss of training was below :attr:`Comparison.reach`: median of all runs, None
        if half of them or more never came there.
    reached : int
        Runs that came there.
    seconds : float
        Of the processor, for a training: the median.
    curve : list of float
        The loss of training by epoch: mean of the runs that have one.
    """

    scaler: str
    norm: str
    r2: float
    std: float
    worst: float
    fold_spread: float
    seed_spread: float | None
    rmse: float | None
    runs: int
    diverged: int
    loss: float | None
    steps: int | None
    reached: int
    seconds: float
    curve: list[float]

    @property
    def name(self) -> str:
        """The two, as people read it."""
        return name_of((self.scaler, self.norm))


@dataclass(frozen=True, slots=True)
class Pair:
    """One difference and its test.

    Attributes
    ----------
    kind : {"combination", "scaler", "norm"}
        What differs; scalers are averaged over the norms, and norms over the scalers.
    first, second : str
    difference : float
        Of the scores: first less second.
    low, high : float
        Between which all true differences lie at once, at the confidence 1 - alpha (Bonferroni).
    p, p_adjusted : float
        Of this test alone; and among all of the comparison (Holm).
    differs : bool
        Whether `p_adjusted` is below alpha.
    """

    kind: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    differs: bool


class Comparison:
    """The outcome of :func:`streamnorm.compare`.

    Parameters
    ----------
    settings : dict
        What was compared on what; plain values.
    runs : iterable of Run

    Attributes
    ----------
    settings : dict
    runs : list of Run
        By seed, fold, scaler and norm.

    Examples
    --------
    >>> import numpy as np, streamnorm as sn
    >>> x = np.random.default_rng(0).normal(size=(120, 2)) * [1, 1000]
    >>> found = sn.compare(x, x[:, 0] + x[:, 1] / 1000, scalers=["standard", "none"], norms=["none"], seeds=1, folds=2)
    >>> [(each.scaler, each.runs) for each in found.figures]
    [('standard', 2), ('none', 2)]
    """

    def __init__(self, settings: dict[str, Any], runs: Iterable[Run]) -> None:
        self.settings = settings
        rank = {name: i for i, name in enumerate([*settings["scalers"], *settings["norms"]])}
        self.runs = sorted(runs, key=lambda r: (r.seed, r.fold, rank[r.scaler], rank[r.norm]))

    @property
    def combinations(self) -> list[Combination]:
        """Scaler and norm of each."""
        return [(scaler, norm) for scaler in self.settings["scalers"] for norm in self.settings["norms"]]

    @cached_property
    def _runs_of(self) -> dict[Combination, list[Run]]:
        found: dict[Combination, list[Run]] = {each: [] for each in self.combinations}
        for run in self.runs:
            found[run.scaler, run.norm].append(run)
        return found

    @cached_property
    def reach(self) -> float:
        """The loss of training that counts as reached: nine tenths of the way from that of predicting the mean to the
        lowest one of any combination, unless it was given."""
        if self.settings["reach"] is not None:
            return self.settings["reach"]
        start = self.settings["mean_loss"]
        last = [loss for loss in (_last_loss(runs) for runs in self._runs_of.values()) if loss is not None]
        best = min(last, default=start)
        return best + NEAR * max(0.0, start - best)

    @cached_property
    def figures(self) -> list[Figures]:
        """Each combination's, the highest mean score first."""
        found = [self._figures(runs) for runs in self._runs_of.values()]
        return sorted(found, key=lambda each: -each.r2)

    @property
    def best(self) -> Figures:
        """The combination of the highest mean score, which need not be better than others."""
        return self.figures[0]

    def _figures(self, runs: Sequence[Run]) -> Figures:
        scores = np.array([run.score for run in runs])
        by_seed: dict[int, list[float]] = {}
        for run in runs:
            by_seed.setdefault(run.seed, []).append(run.score)
        means = [statistics.fmean(values) for values in by_seed.values()]
        good = [run.error for run in runs if not run.diverged and run.error is not None]
        rmse = None
        if good and len(self.settings["target_std"]) == 1:
            rmse = math.sqrt(statistics.fmean(good)) * self.settings["target_std"][0]
        steps = sorted(self._steps(run) for run in runs)
        median = steps[len(steps) // 2]
        curves = [run.curve for run in runs if run.curve]
        longest = max(map(len, curves), default=0)
        return Figures(
            scaler=runs[0].scaler,
            norm=runs[0].norm,
            r2=float(scores.mean()),
            std=float(scores.std(ddof=1)) if len(scores) > 1 else 0.0,
            worst=float(scores.min()),
            fold_spread=statistics.fmean(_std(values) or 0.0 for values in by_seed.values()),
            seed_spread=_std(means),
            rmse=rmse,
            runs=len(runs),
            diverged=sum(run.diverged for run in runs),
            loss=_last_loss(runs),
            steps=None if math.isinf(median) else int(median),
            reached=sum(math.isfinite(each) for each in steps),
            seconds=statistics.median(run.seconds for run in runs),
            curve=[statistics.fmean(c[i] for c in curves if len(c) > i) for i in range(longest)],
        )

    def _steps(self, run: Run) -> float:
        """Steps of the optimizer until the loss of an epoch was low enough; infinity if it never was."""
        batch = self.settings["batch_size"]
        each = max(1, -(-run.train_rows // batch) - (run.train_rows % batch == 1))
        return next(((i + 1) * each for i, loss in enumerate(run.curve) if loss <= self.reach), math.inf)

    # ------------------------------------------------------------------------------------------- differences

    @cached_property
    def pairs(self) -> list[Pair]:
        """All differences that were tested, together: of combinations; and of scalers and norms, if there are several
        of both.

        Each of these kinds has the same share of `alpha`, so that the few questions about scalers and norms are not
        drowned by the many about combinations.
        """
        values: list[tuple[str, str, str, np.ndarray]] = []
        names = [(name_of(each), self._scores({each})) for each in self.combinations]
        values += [("combination", a, b, x - y) for (a, x), (b, y) in combinations(names, 2)]
        if len(self.settings["scalers"]) > 1 and len(self.settings["norms"]) > 1:
            for kind in ("scaler", "norm"):
                place = 0 if kind == "scaler" else 1
                names = [
                    (name, self._scores({each for each in self.combinations if each[place] == name}))
                    for name in self.settings[kind + "s"]
                ]
                values += [(kind, a, b, x - y) for (a, x), (b, y) in combinations(names, 2)]
        ratio = statistics.fmean(run.test_rows / run.train_rows for run in self.runs)
        alpha = self.settings["alpha"]
        tests = [corrected_t_test(differences, ratio) for *_, differences in values]
        kinds = Counter(kind for kind, *_ in values)
        shares = [1 / (len(kinds) * kinds[kind]) for kind, *_ in values]
        adjusted = holm([test.p for test in tests], shares)
        return [
            Pair(kind, a, b, test.difference, *test.interval(1 - alpha * share), test.p, p, p < alpha)
            for (kind, a, b, _), test, share, p in zip(values, tests, shares, adjusted, strict=True)
        ]

    def _scores(self, chosen: Collection[Combination]) -> np.ndarray:
        """The mean score of these combinations, by seed and fold; by (fold, seed), where seeds share the folds."""
        found: dict[tuple[int, int], list[float]] = {}
        for run in self.runs:
            if (run.scaler, run.norm) in chosen:
                found.setdefault((run.fold, run.seed), []).append(run.score)
        scores = np.array([statistics.fmean(found[key]) for key in sorted(found)])
        return scores if self.settings["repeated_folds"] else scores.reshape(self.settings["folds"], -1)

    def _against(self, name: str, kind: str = "combination") -> dict[str, Pair]:
        """The pairs that one is in, by the name of the other."""
        return {
            pair.second if pair.first == name else pair.first: pair
            for pair in self.pairs
            if pair.kind == kind and name in (pair.first, pair.second)
        }

    def standing(self, figures: Figures) -> str:
        """How a combination compares with the best one: "best", "no difference" or "worse"."""
        if figures is self.best:
            return "best" if any(pair.differs for pair in self._against(self.best.name).values()) else "highest"
        return "worse" if self._against(self.best.name)[figures.name].differs else "no difference"

    @property
    def verdict(self) -> str:
        """What can be said, and what cannot, in a few sentences."""
        best = self.best
        said = []
        against = self._against(best.name)
        worse = [name for name, pair in against.items() if pair.differs]
        same = [each for each in self.figures[1:] if each.name not in worse]
        r2 = f"R² {best.r2:.4f}"
        if not against:
            said.append(f"{best.name} is the only combination: {r2}.")
        elif not worse:
            p = min(pair.p_adjusted for pair in against.values())
            beginning = "No combination stands out" if any(pair.differs for pair in self.pairs) else "No difference"
            others = next(iter(against)) if len(against) == 1 else f"any of the {len(against)} others"
            said.append(
                f"{beginning}: {best.name} has the highest score ({r2}), but is not better than {others} beyond "
                f"chance ({'least ' if len(against) > 1 else ''}adjusted p = {p:.2g})."
            )
        elif not same:
            said.append(f"{best.name} is better than all {len(against)} others ({r2})." if len(against) > 1 else
                        f"{best.name} is better than {worse[0]} ({r2}).")  # fmt: skip
        else:
            said.append(
                f"{best.name} has the highest score ({r2}) and is better than {_some(worse)}; there is no difference "
                f"from {_some([each.name for each in same])}."
            )
        said += self._by_factor()
        if same and against:
            unseen = statistics.median((pair.high - pair.low) / 2 for pair in against.values() if not pair.differs)
            if unseen > MOST_UNSEEN:
                said.append("There are too few folds to tell any difference: take more of them, or more seeds.")
            elif unseen > 0:
                said.append(f"A difference of less than about {unseen:.2g} in R² would not have shown here.")
            quick = min([best, *same], key=lambda each: (math.inf if each.steps is None else each.steps, each.seconds))
            if quick.steps is not None and (best.steps is None or quick.steps < best.steps):
                said.append(f"Of those that are no different, {quick.name} learned first, in {quick.steps:,} steps.")
        usual = statistics.median(each.std for each in self.figures)
        for each in same:
            if each.std > UNSTEADY * usual > 0:
                scores = [run.score for run in self._runs_of[each.scaler, each.norm]]
                said.append(f"{each.name} is unsteady, with an R² from {min(scores):.2f} to {max(scores):.2f}: too "
                            "much to tell it from the best.")  # fmt: skip
        said += [
            f"{each.name} diverged in {each.diverged} of {each.runs} runs." for each in self.figures if each.diverged
        ][:5]
        return " ".join(sentence[0].upper() + sentence[1:] for sentence in said)

    def _by_factor(self) -> list[str]:
        said = []
        for kind, other in (("scaler", "norms"), ("norm", "scalers")):
            pairs = [pair for pair in self.pairs if pair.kind == kind]
            if not pairs:
                continue
            losers: dict[str, list[str]] = {}
            for pair in pairs:
                if pair.differs:
                    winner, loser = (pair.first, pair.second) if pair.difference > 0 else (pair.second, pair.first)
                    losers.setdefault(loser, []).append(winner)
            plural = f"{kind}s" if kind == "scaler" else "norm layers"
            if not losers:
                said.append(f"Between {plural}, averaged over the {other}, there is no difference.")
            else:
                found = "; ".join(
                    f"{_quoted(kind, loser)} is worse than {_some([_quoted(kind, each) for each in over])}"
                    for loser, over in losers.items()
                )
                said.append(f"Of the {plural}, averaged over the {other}, {found}.")
        return said

    # ------------------------------------------------------------------------------------------------- forms

    def table(self) -> pa.Table:
        """The figures, a row for each combination, the highest score first."""
        rows = [asdict(each) | {"standing": self.standing(each)} for each in self.figures]
        return pa.Table.from_pylist(rows, _SCHEMA)

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values."""
        from .._version import __version__

        return {
            "streamnorm": __version__,
            "comparison": FORMAT,
            "verdict": self.verdict,
            "best": self.best.name,
            "reach": self.reach,
            "settings": self.settings,
            "figures": [asdict(each) | {"standing": self.standing(each)} for each in self.figures],
            "pairs": [asdict(pair) for pair in self.pairs],
            "runs": [asdict(run) for run in self.runs],
        }

    def to_json(self) -> str:
        """The same as RFC 8259 JSON; what is not known is null."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """What :meth:`to_json` has written."""
        from ..errors import StateError

        try:
            said = json.loads(text)
            if said["comparison"] != FORMAT:
                raise StateError(f"is a comparison of format {said['comparison']}, and {FORMAT} is known")
            runs = [Run(**{**run, "curve": tuple(run["curve"])}) for run in said["runs"]]
            return cls(said["settings"], runs)
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, StateError):
                raise
            raise StateError(f"is no comparison that streamnorm has written ({error})") from None

    def __str__(self) -> str:
        from .compare_text import as_text

        return as_text(self)

    def __repr__(self) -> str:
        said = self.settings
        return f"<Comparison of {len(said['scalers'])} scalers and {len(said['norms'])} norms, {len(self.runs)} runs>"

    def _repr_html_(self) -> str:
        from .compare_page import as_fragment

        return as_fragment(self)

    def save(self, path: Any, *, overwrite: bool = False) -> None:
        """Write it to a file: a page to look at (.html), or JSON (.json).

        Parameters
        ----------
        path : path
        overwrite : bool, default False
            Whether the file may be there already.
        """
        from ..atomic import atomic_file
        from .compare_page import as_page

        make = as_page if check_suffix(path) == ".html" else Comparison.to_json
        data = make(self).encode()
        with atomic_file(path, overwrite=overwrite) as file:
            file.write(data)
            file.commit()


def check_suffix(path: Any) -> str:
    """The suffix of an output; ValueError unless it is .html or .json."""
    import os

    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in (".html", ".json"):
        raise ValueError(f"{os.fspath(path)}: a comparison goes to a page (.html) or to JSON (.json)")
    return suffix


def label(kind: str, name: str) -> str:
    """A scaler or a norm layer as people read it, the same wherever it is shown."""
    return _NONE[kind] if name == "none" else name


def _quoted(kind: str, name: str) -> str:
    """The same in a sentence: that "no norm" is worse is not that no norm is."""
    said = label(kind, name)
    return f'"{said}"' if kind == "norm" and name == "none" else said


def name_of(combination: Combination) -> str:
    """Scaler and norm, as people read them."""
    return f"{label('scaler', combination[0])} + {label('norm', combination[1])}"


def _some(names: Sequence[str], most: int = 4) -> str:
    shown = list(names[:most])
    rest = len(names) - len(shown)
    if rest:
        shown.append(f"{rest} more")
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]


def _std(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _last_loss(runs: Sequence[Run]) -> float | None:
    last = [run.curve[-1] for run in runs if run.curve and not run.diverged]
    return statistics.fmean(last) if last else None


_SCHEMA = pa.schema(
    {
        "scaler": pa.string(),
        "norm": pa.string(),
        "standing": pa.string(),
        "r2": pa.float64(),
        "std": pa.float64(),
        "worst": pa.float64(),
        "fold_spread": pa.float64(),
        "seed_spread": pa.float64(),
        "rmse": pa.float64(),
        "runs": pa.int64(),
        "diverged": pa.int64(),
        "loss": pa.float64(),
        "steps": pa.int64(),
        "reached": pa.int64(),
        "seconds": pa.float64(),
        "curve": pa.list_(pa.float64()),
    }
)
