"""A comparison as a page that is one file, and as a part of a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .compare_text import said_of
from .comparison import label, name_of
from .page import Html, Page, required, section, table, tag

if TYPE_CHECKING:
    from .comparison import Comparison, Pair

HEAD = ("combination", "against the best", "R²", "std", "worst", "by fold", "by seed", "RMSE", "diverged", "steps",
        "loss", "seconds")  # fmt: skip
LOG_RATIO = 20.0  # between the largest and the smallest loss, from which the axis is logarithmic
CURVES = "The loss of training by epoch, the mean of all runs, with {}, by scaler"
STYLE = ".curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 0 20px; }"
DIGITS = 4  # of figures that have no more that mean anything
SCORES = "R² of every run over the rows held out of it; -1 where training diverged."


def check_installed() -> None:
    """Raise StreamnormError if what draws the curves is missing: before hours of training, not after."""
    required("altair")
    required("vl_convert")


def as_page(found: Comparison) -> str:
    """The page: verdict, figures, curves, scores, differences, and how it was done."""
    said = found.settings
    page = Page(f"Scalers and norm layers for {', '.join(said['target'])}", subtitle=said_of(found))
    best = found.best
    page.add(tag("div", tag("h2", "Verdict"), tag("p", found.verdict), class_="card", role="region",
                 aria_label="Verdict"))  # fmt: skip
    diverged = sum(run.diverged for run in found.runs)
    tiles = [
        (f"{best.r2:.4f}", f"R² of {best.name}, the highest"),
        (f"{sum(pair.differs for pair in found.pairs)} of {len(found.pairs)}", "differences beyond chance"),
        (f"{diverged} of {len(found.runs)}", "trainings diverged"),
        (f"{said['rows']:,}", "rows compared on"),
    ]
    page.add(tag("ul", *(tag("li", tag("b", figure), tag("span", what)) for figure, what in tiles), class_="tiles"))
    page.add(section("Figures", figures_table(found), tag("p", _meaning(found), class_="note")))
    if max(len(each.curve) for each in found.figures) > 1:
        page.style(STYLE)
        charts = [_curves_chart(page, found, norm) for norm in said["norms"]]
        behind = tag("details", tag("summary", "The figures as a table"), _curves_table(found))
        page.add(section("Convergence", tag("div", *charts, class_="curves"), behind))
    page.add(section("Stability", page.chart(_scores(found), label=SCORES, caption=SCORES,
                                             figures=_scores_table(found))))  # fmt: skip
    if found.pairs:
        page.add(section("Differences", *_pairs_tables(found), tag("p", _tests(found), class_="note")))
    page.add(section("How it was done", _settings_table(found)))
    return page.render()


def as_fragment(found: Comparison) -> Html:
    """For a notebook."""
    return tag("div", tag("p", said_of(found)), figures_table(found, sortable=False), tag("p", found.verdict))


def figures_table(found: Comparison, *, sortable: bool = True) -> Html:
    """A row for each combination."""
    rows = [
        [
            each.name, found.standing(each),
            *map(_rounded, (each.r2, each.std, each.worst, each.fold_spread, each.seed_spread, each.rmse)),
            each.diverged, each.steps, _rounded(each.loss), _rounded(each.seconds),
        ]
        for each in found.figures
    ]  # fmt: skip
    return table(HEAD, rows, caption="By combination of scaler and norm layer, the highest R² first", sortable=sortable)


def _meaning(found: Comparison) -> str:
    return (
        "R²: the mean over the runs, each over rows held out of it, -1 where training diverged. std: of all runs; by "
        "fold: over the folds of a seed; by seed: of the seeds' means. RMSE: in the target's units, without runs that "
        f"diverged. steps: of the optimizer, until the loss of training is below {found.reach:.4g}, the median; a dash "
        "where half of the runs never came there. loss: of training, at the end. seconds: of the processor, for a "
        "training, the median."
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _curves_chart(page: Page, found: Comparison, norm: str) -> Html:
    """The curves of all scalers with one norm layer, on the axes of all."""
    alt: Any = required("altair")
    losses = [loss for each in found.figures for loss in each.curve if loss > 0]
    scale: dict[str, Any] = {"zero": False}
    if losses:
        logarithmic = max(losses) / min(losses) >= LOG_RATIO
        scale = {"type": "log" if logarithmic else "linear", "domain": [min(losses), max(losses)], "nice": True}
    values = [
        {"epoch": i + 1, "loss": loss, "scaler": label("scaler", each.scaler)}
        for each in found.figures
        if each.norm == norm
        for i, loss in enumerate(each.curve)
        if loss > 0
    ]
    names = [label("scaler", scaler) for scaler in found.settings["scalers"]]
    # Vega-Lite makes one legend of colour and dash if both have the same domain, and none of them is of points.
    shades = alt.Scale(domain=names)
    legend = alt.Legend(orient="bottom", columns=3, symbolType="stroke", symbolSize=300, symbolStrokeWidth=2)
    powers = [10.0**k for k in range(-12, 13)] if scale.get("type") == "log" else alt.Undefined
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_line()
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("loss:Q", title="loss of training", scale=alt.Scale(**scale), axis=alt.Axis(values=powers)),
            color=alt.Color("scaler:N", title=None, scale=shades, legend=legend),
            strokeDash=alt.StrokeDash("scaler:N", title=None, scale=shades, legend=legend),
        )
        .properties(width="container", height=240)
        .to_dict(validate=False)
    )
    called = "no norm layer" if norm == "none" else f"{norm} norm"
    return tag("div", tag("h3", called[0].upper() + called[1:]), page.chart(chart, label=CURVES.format(called)))


def _curves_table(found: Comparison) -> Html:
    longest = max(len(each.curve) for each in found.figures)
    rows = [
        [each.name, *map(_rounded, each.curve), *[None] * (longest - len(each.curve))] for each in found.figures
    ]
    return table(["combination", *(f"epoch {i + 1}" for i in range(longest))], rows, caption="Mean loss of training")


def _scores(found: Comparison) -> Any:
    alt: Any = required("altair")
    order = [each.name for each in found.figures]
    values = [{"combination": name_of((run.scaler, run.norm)), "score": run.score} for run in found.runs]
    return (
        alt.Chart(alt.Data(values=values))
        .mark_tick(thickness=2)
        .encode(
            x=alt.X("score:Q", title="R²", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=8)),
            y=alt.Y("combination:N", title=None, sort=order, axis=alt.Axis(labelLimit=300)),
        )
        .properties(width="container", height=alt.Step(22))
        .to_dict(validate=False)
    )


def _scores_table(found: Comparison) -> Html:
    return table(
        ["combination", "seed", "fold", "rows trained on", "rows tested on", "R²", "diverged", "seconds"],
        [
            [name_of((run.scaler, run.norm)), run.seed, run.fold + 1, run.train_rows, run.test_rows,
             _rounded(run.score), "yes" if run.diverged else "no", _rounded(run.seconds)]
            for run in found.runs
        ],
        caption="All trainings",
    )  # fmt: skip


def _pairs_tables(found: Comparison) -> list[Html]:
    """Those that the verdict speaks of, and all others behind a line to open."""
    best = found.best.name
    groups = {
        "Scalers, averaged over the norm layers": [pair for pair in found.pairs if pair.kind == "scaler"],
        "Norm layers, averaged over the scalers": [pair for pair in found.pairs if pair.kind == "norm"],
        f"{best} and the others": [pair for pair in found.pairs if best in (pair.first, pair.second)],
    }
    said = [_pairs_table(pairs, caption) for caption, pairs in groups.items() if pairs]
    rest = [pair for pair in found.pairs if pair.kind == "combination" and best not in (pair.first, pair.second)]
    if rest:
        summary = tag("summary", f"All {len(rest)} other differences")
        said.append(tag("details", summary, _pairs_table(rest, "Differences between the others")))
    return said


def _pairs_table(pairs: list[Pair], caption: str) -> Html:
    rows = [
        [label(pair.kind, pair.first), label(pair.kind, pair.second),
         *map(_rounded, (pair.difference, pair.low, pair.high, pair.p, pair.p_adjusted)),
         "differs" if pair.differs else "no difference"]
        for pair in sorted(pairs, key=lambda pair: (pair.p_adjusted, -abs(pair.difference)))
    ]  # fmt: skip
    head = ["one", "other", "difference in R²", "from", "to", "p", "adjusted p", "verdict"]
    return table(head, rows, caption=caption, sortable=True)


def _tests(found: Comparison) -> str:
    alpha = found.settings["alpha"]
    values = "the folds, which all seeds share" if not found.settings["repeated_folds"] else "all folds of all seeds"
    return (
        f"Corrected resampled t-test (Nadeau and Bengio 2003) on {values}. p-values are adjusted together by Holm's "
        f"method (1979), so that the chance of any false difference is at most {alpha:g}. From, to: intervals that "
        f"hold all differences at once at {1 - alpha:.0%} (Bonferroni), and so are wider than the tests are strict."
    )


def _settings_table(found: Comparison) -> Html:
    said = found.settings
    rows = [
        ("target", ", ".join(said["target"])),
        ("inputs", ", ".join(said["features"])),
        ("rows of the source", f"{said['source_rows']:,}"),
        ("rows left out", f"{said['left_out']:,}"),
        ("rows compared on", f"{said['rows']:,}"),
        ("sample", said["sample"]),
        ("folds", f"{said['folds']} ({said['split']})"),
        ("seeds", ", ".join(map(str, said["seeds"]))),
        *((f"model: {name}", value) for name, value in said["model"].items()),
    ]
    return table(["setting", "value"], [[name, _text(value)] for name, value in rows], caption="Settings")


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
