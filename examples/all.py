"""Run the nine programs, and bring what they measure to README.md, docs/normalization.md and docs/images/.

``make examples`` runs all; ``python examples/all.py 07 08`` some. Drawing needs matplotlib, the extra ``examples``.
"""

# Design: a picture is the same bytes for the same numbers: no date, ids from a fixed salt, letters as text. Its colours
# are of middle lightness on no background, so that one file can be read on white and on black. Turned down: a picture
# for each, which a page that is shown elsewhere would not know to choose from.

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import cell, told, verdicts

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGES = ROOT / "README.md", ROOT / "docs" / "normalization.md"
IMAGES = ROOT / "docs" / "images"

INK = "#787878"  # a contrast of 4.4 with white, and of 4.3 with GitHub's black
COLOURS = "#d1600f", "#8d6bc4", "#1f7fc4"  # bare, in between, normalized
STYLE = {
    "svg.hashsalt": "streamnorm",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # what matplotlib brings, so that widths are the same everywhere
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.transparent": True,
}

Measured = dict[str, Any]


def main(wanted: list[str]) -> None:
    for program in sorted(HERE.glob("0[1-9]_*.py")):
        if wanted and not program.name.startswith(tuple(wanted)):
            continue
        print(f"\n{'=' * 20} {program.name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "measured.json")
            subprocess.run([sys.executable, str(program), "--json", str(path)], check=True)
            comparisons = json.loads(path.read_text())
        draw(comparisons, IMAGES / f"{program.stem}.svg")
        for page in PAGES:
            bring(comparisons, page)


def bring(comparisons: list[Measured], page: Path) -> None:
    """Put what a program measured in the place of what the page has of it."""
    text, name = page.read_text(encoding="utf-8"), comparisons[0]["program"]
    text = re.sub(
        rf"(<!-- measured by {name} -->\n).*?(<!-- end -->)",
        lambda found: found[1] + "\n" + "\n".join(map(table, comparisons)) + "\n" + found[2],
        text,
        flags=re.DOTALL,
    )
    rows = [summary_row(measured, page) for measured in comparisons]
    old = [line for line in text.splitlines() if line.startswith(f"| [`{name}.py`]")]
    if old:
        text = text.replace("\n".join(old), "\n".join(rows))
    page.write_text(text, encoding="utf-8")


def summary_row(measured: Measured, page: Path) -> str:
    """A comparison as a line of a table; every link is from the page's folder."""
    name, up = measured["program"], "" if page.parent == ROOT else "../"
    *others, normalized = measured["arms"]
    bare = "; ".join(map(best, others))
    difference = "; ".join("diverged" if found is None else told(found) for found in measured["differences"])
    link = f"[`{name}.py`]({up}examples/{name}.py)"
    return f"| {link} | {measured['setting']}, {measured['optimizer']} | {bare} | {best(normalized)} | {difference} |"


def best(arm: Measured) -> str:
    return f"{arm['name']}: {cell(arm['rates'][arm['rate']])}"


def table(measured: Measured) -> str:
    """A comparison as a table of its own, by learning rate."""
    rates = list(measured["arms"][0]["rates"])
    train, _, test = measured["rows"]
    head = (
        f"{measured['setting'].capitalize()}: {measured['optimizer']}, {measured['epochs']} epochs, "
        f"{measured['seeds']} seeds, {train:,} rows to train on; error of {test:,} others in {measured['unit']} by "
        f"learning rate ({measured['naive_name']}: {measured['naive'][1]:.2f})."
    )
    lines = [
        textwrap.fill(head, 120),
        "",
        f"| | {' | '.join(rates)} |",
        "|---|" + "---|" * len(rates),
    ]
    for arm in measured["arms"]:
        cells = [f"**{cell(each)}**" if rate == arm["rate"] else cell(each) for rate, each in arm["rates"].items()]
        lines.append(f"| {arm['name']} | {' | '.join(cells)} |")
    said = "; ".join(verdicts(measured))
    return "\n".join([*lines, "", textwrap.fill(f"{said[:1].upper()}{said[1:]}.", 120), ""])


def draw(comparisons: list[Measured], path: Path) -> None:
    """The error on the validation part by epoch: the mean over the seeds, and from the least to the greatest."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        figure, panels = pyplot.subplots(
            1, len(comparisons), figsize=(3.8 * len(comparisons), 3.6), layout="constrained", squeeze=False
        )
        for panel, measured in zip(panels[0], comparisons, strict=True):
            draw_panel(panel, measured)
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    drawn = path.read_text(encoding="utf-8")
    path.write_text(drawn.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif"), encoding="utf-8")


def draw_panel(panel: Any, measured: Measured) -> None:
    arms, naive = measured["arms"], measured["naive"][0]
    colours = COLOURS if len(arms) == 3 else (COLOURS[0], COLOURS[-1])
    means = []
    for arm, colour in zip(arms, colours, strict=True):
        at_rate = arm["rates"][arm["rate"]]
        curves = np.array([curve for curve in at_rate["curves"] if curve is not None])
        if not len(curves):
            panel.plot([], [], color=colour, label=f"{arm['name']}: all diverged")
            continue
        epochs = np.arange(1, curves.shape[1] + 1)
        panel.fill_between(epochs, curves.min(0), curves.max(0), color=colour, alpha=0.25, linewidth=0)
        panel.plot(epochs, curves.mean(0), color=colour, label=f"{arm['name']}, rate {arm['rate']}", linewidth=1.6)
        means.append(curves.mean(0))
    diverged = len(means) < len(arms)
    low, high = np.min(means), naive if diverged else min(np.max(means), 1.15 * naive)
    panel.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    if high > 0.9 * naive:
        panel.axhline(naive, color=INK, linewidth=0.8, linestyle=":", label=measured["naive_name"])
    panel.set(title=f"{measured['setting']}, {measured['optimizer']}", xlabel="epoch")
    panel.set_ylabel(f"validation error, {measured['unit']}")
    panel.title.set_fontsize(9)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.5, -0.18))


if __name__ == "__main__":
    main(sys.argv[1:])
