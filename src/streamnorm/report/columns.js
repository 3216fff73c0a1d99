/* The columns of a report: search, filters, order, pages, and a card or a row for each. Text only ever goes in by
   textContent and setAttribute, so that no name can become markup. */
"use strict";
(() => {
  const { data, view, whenSeen, drawAll, forget } = window.streamnorm;
  const { columns } = data("columns");
  const CARDS = 20, ROWS = 100;  // of one page
  const byId = (id) => document.getElementById(id);
  const list = byId("list"), found = byId("found"), pagers = document.querySelectorAll(".pager");
  const picked = new Set();
  let page = 0, printing = false;

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  // Figures as page.py writes them.
  const figure = (x, digits = 6) => {
    if (x === null || x === undefined) return "–";
    if (typeof x === "string") return x;
    if (!Number.isFinite(x)) return String(x);
    const size = Math.abs(x);
    const plain = x === 0 || (size >= 1e-4 && size < 1e6) || (Number.isInteger(x) && size < 1e15);
    const text = plain
      ? Number(x.toPrecision(Number.isInteger(x) ? 15 : digits))
        .toLocaleString("en-US", { maximumFractionDigits: 12, useGrouping: size >= 1e4 })
      : Number(x.toPrecision(digits)).toExponential().replace("e+", "e");
    return text.replaceAll("-", "−");
  };
  const many = (n) => (n === null || n === undefined ? n : n.toLocaleString("en-US"));
  const share = (part, whole) => {
    if (!whole || !part) return "0 %";
    const percent = (100 * part) / whole;
    return percent < 0.01 ? "< 0.01 %" : `${figure(percent, percent < 1 ? 2 : 3)} %`;
  };
  // A value of a column: a date or a time where it is one.
  const valueOf = (c, x, digits) => {
    if (!c.unit || typeof x !== "number" || !(Math.abs(x * c.unit) < 8.64e15)) return figure(x, digits);
    return new Date(x * c.unit).toISOString().slice(0, c.type.startsWith("date") ? 10 : 16).replace("T", " ");
  };
  const rowsOf = (c) => (c.count ?? 0) + (c.nulls ?? 0) + (c.nan ?? 0) + (c.infinite ?? 0);

  // The affine map of a column; one whose scale is infinite makes everything its offset.
  const mapped = (map, x) => {
    const y = (map.scale === "Infinity" ? 0 : (x - map.center) / map.scale) + map.offset;
    return map.clip ? Math.min(map.clip[1], Math.max(map.clip[0], y)) : y;
  };

  /* What a chart is drawn from: bars whose areas are shares of the values, a box with whiskers to Tukey's fences or to
     the extrema, and what lies beyond the axis. */
  const shapeOf = (c, map) => {
    const on = (x) => (map ? mapped(map, x) : x);
    const say = (x) => (map ? figure(x, 4) : valueOf(c, x, 4));
    const { edges, counts, tails, ends } = c.histogram;
    const total = counts.reduce((a, b) => a + b, 0);
    const single = counts.length === 1 && ends[0] === ends[1];
    const xs = (single ? ends : edges).map(on);
    let [low, high] = map ? c.method.axis : [xs[tails[0] ? 1 : 0], xs[xs.length - (tails[1] ? 2 : 1)]];
    if (!map || !(high > low)) {
      const room = single ? edges[1] - edges[0] : (high - low) * 0.02 || Math.abs(high) * 0.1 || 1;
      [low, high] = [low - room, high + room];
    }
    const thin = (high - low) * 0.004;
    // The last of the bins of whole numbers may hold fewer of them; it has the height that a full one would have.
    const widths = xs.slice(1).map((x, i) => Math.abs(x - xs[i])).sort((a, b) => a - b);
    const step = widths[Math.floor(widths.length / 2)];
    const bars = counts.map((count, i) => {
      let [from, to] = xs[i] <= xs[i + 1] ? [xs[i], xs[i + 1]] : [xs[i + 1], xs[i]];
      if (to - from < thin) [from, to] = [(from + to - thin) / 2, (from + to + thin) / 2];
      // Of the usual width, and not of 1: a count over a width of 1e-320 is infinite.
      return { from, to, count, density: count * ((step || thin) / Math.max(to - from, step)) };
    });
    const most = Math.max(...bars.map((bar) => bar.density)) || 1;
    let below = 0, above = 0;
    for (const bar of bars) {
      const within = (x) => Math.min(1, Math.max(0, (x - bar.from) / (bar.to - bar.from)));
      below += bar.count * within(low);
      above += bar.count * (1 - within(high));
      bar.height = bar.count ? Math.max(bar.density / most, 0.012) : 0;
      bar.tip = `${say(bar.from)} to ${say(bar.to)}: ${many(bar.count)} values (${share(bar.count, total)})`;
    }
    const q = Object.fromEntries(c.quantiles.map((each) => [each.q, each.value]));
    let box = [];
    if ([0.25, 0.5, 0.75].every((each) => q[each] !== undefined)) {
      const reach = 1.5 * (q[0.75] - q[0.25]);
      const whiskers = [Math.max(ends[0], q[0.25] - reach), Math.min(ends[1], q[0.75] + reach)];
      box = [{ low: on(whiskers[0]), q1: on(q[0.25]), median: on(q[0.5]), q3: on(q[0.75]), high: on(whiskers[1]) }];
    }
    const shown = bars.filter((bar) => bar.count && bar.to > low && bar.from < high);
    return {
      low, high, below, above, total, box, say,
      bars: shown.map((bar) => ({ ...bar, from: Math.max(bar.from, low), to: Math.min(bar.to, high) })),
    };
  };

  const beyond = (shape) => {
    const parts = [];
    if (shape.below >= 0.5) parts.push(`◂ ${share(shape.below, shape.total)} below ${shape.say(shape.low)}`);
    if (shape.above >= 0.5) parts.push(`${share(shape.above, shape.total)} above ${shape.say(shape.high)} ▸`);
    return parts.join(" · ");
  };

  const spoken = (c, map, shape) => {
    const [box] = shape.box;
    const middle = box
      ? ` Half of the values lie between ${shape.say(box.q1)} and ${shape.say(box.q3)}, the median is ${shape.say(box.median)}.`
      : "";
    const rest = beyond(shape);
    return `Histogram and box plot of ${c.name} ${map ? "after" : "before"} scaling, from ${shape.say(shape.low)} to ` +
      `${shape.say(shape.high)}.${middle}${rest ? ` Not shown: ${rest.replace(/ ?[◂▸] ?/g, "").replace(" · ", " and ")}.` : ""}`;
  };

  const chart = (c, map) => {
    const when = map ? "after" : "before";
    const note = map ? `${c.method.text}` : "as it is stored";
    const head = make("h4", {}, make("i", { "aria-hidden": true }), map ? "After" : "Before", make("small", {}, note));
    if (!c.histogram) {
      const why = c.count === 0 ? "There are no values." : "The state has no quantiles to draw from.";
      return make("figure", { class: when }, head, make("div", { class: "none" }, why));
    }
    const shape = shapeOf(c, map);
    const plot = make("div", { class: "plot", role: "img", "aria-label": spoken(c, map, shape) });
    whenSeen(plot, () => {
      const band = map ? c.method.band : null;
      view(plot, "chart", {
        bars: shape.bars, box: shape.box, band: band ? [{ from: band[0], to: band[1] }] : [],
      }, {
        width: Math.max(160, plot.clientWidth - 14), height: plot.clientHeight - 30,
        low: shape.low, high: shape.high, unit: (!map && c.unit) || 0, color: map ? "var(--c2)" : "var(--c1)",
      });
    });
    return make("figure", { class: when }, head, plot, make("figcaption", {}, beyond(shape)));
  };

  const fact = (name, value, small = "", alarm = false) => {
    if (value === null || value === undefined || value === "–") return null;
    const text = typeof value === "number" ? figure(value) : value;
    return make("div", {}, make("dt", {}, name),
      make("dd", { class: alarm ? "alarm" : null }, text, small ? make("small", {}, ` ${small}`) : null));
  };

  const facts = (c) => {
    const rows = rowsOf(c);
    const q = Object.fromEntries((c.quantiles ?? []).map((each) => [each.q, each.value]));
    const part = (n) => (n ? share(n, rows) : "");
    return make("dl", { class: "facts" },
      fact("values", many(c.count)), fact("nulls", many(c.nulls), part(c.nulls), c.nulls > 0.05 * rows),
      c.nan || /float|double/.test(c.type) ? fact("NaN", many(c.nan), part(c.nan), c.nan > 0) : null,
      c.infinite ? fact("infinite", many(c.infinite), part(c.infinite), true) : null,
      fact("zeros", many(c.zeros), c.zeros ? share(c.zeros, c.count) : ""),
      fact("outliers", many(c.outliers), c.outliers ? `${share(c.outliers, c.count)}${c.outliersError ? `, ± ${many(c.outliersError)}` : ""}` : "",
        c.outliers > 0.01 * c.count),
      fact("distinct", c.distinct === undefined || c.distinct === null ? null : `${c.distinctError ? "≈ " : ""}${many(c.distinct)}`,
        c.distinctError ? `± ${share(c.distinctError, 1)}` : ""),
      fact("mean", c.mean), fact("std", c.std), fact("min", c.min), fact("median", valueOf(c, q[0.5] ?? null)), fact("max", c.max),
      fact("skewness", c.skew), fact("tail weight", c.tails, c.tails ? "normal: 1" : ""),
    );
  };

  const tableOf = (caption, head, rows) => make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": caption },
    make("table", {}, make("caption", {}, caption),
      make("thead", {}, make("tr", {}, ...head.map((text, j) => make("th", { scope: "col", class: j ? "n" : null }, text)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {},
        ...row.map((cell, j) => make(j ? "td" : "th", { class: j ? "n" : null, scope: j ? null : "row" }, cell)))))));

  const rank = (x) => figure(x * 100, 4);
  const between = (c, low, high) => (low === high ? valueOf(c, low) : `${valueOf(c, low)} and ${valueOf(c, high)}`);
  const quantiles = (c) => {
    if (!c.quantiles?.length) return null;
    const sure = c.quantiles.some((each) => each.low !== undefined);
    const exact = sure && c.quantiles.every((each) => each.exact);
    const head = ["quantile", "value"];
    if (c.method) head.push("after");
    if (sure && !exact) head.push("the true one lies between", "ranks of the value");
    const rows = c.quantiles.map((each) => {
      const row = [each.q === 0.5 ? "median" : `${figure(each.q * 100)} %`, valueOf(c, each.value)];
      if (c.method) row.push(figure(mapped(c.method, each.value), 4));
      if (sure && !exact) {
        row.push(each.exact ? "exact" : between(c, each.valueLow, each.valueHigh));
        row.push(each.exact ? "exact" : `${rank(each.low)} to ${rank(each.high)} %`);
      }
      return row;
    });
    const how = exact ? "exact" : `rank error at most ${figure(c.rankError * 100, 2)} % of the values, each interval at 99 % confidence`;
    return make("details", { class: "quantiles", open: printing },
      make("summary", {}, `Quantiles, ${exact ? "exact" : "with their certificates"}`), tableOf(`Quantiles: ${how}`, head, rows));
  };

  const bins = (c) => {
    if (!c.histogram) return null;
    const details = make("details", { class: "bins" }, make("summary", {}, "The histogram as a table"));
    details.addEventListener("toggle", () => {  // made when it is asked for: most are not
      if (!details.open || details.children.length > 1) return;
      const { edges, counts, error } = c.histogram;
      const head = ["from", "to", "values", "share"];
      if (c.method) head.push("after: from", "to");
      const rows = counts.map((count, i) => {
        const row = [valueOf(c, edges[i]), valueOf(c, edges[i + 1]), many(count), share(count, c.count)];
        if (c.method) row.push(figure(mapped(c.method, edges[i]), 4), figure(mapped(c.method, edges[i + 1]), 4));
        return row;
      });
      details.append(tableOf(`Histogram${error ? `: each count is off by at most ${figure(error)} (99 % confidence)` : ""}`, head, rows));
    });
    return details;
  };

  const advice = (c) => {
    if (!c.advice) return [];
    const { method, reason, remarks } = c.advice;
    const follows = method === (c.method ? c.method.name : "passthrough");
    const words = method === "passthrough" ? "pass through" : method;
    return [
      make("p", { class: "why" }, make("b", {}, `${follows ? "Advice followed" : "Advice"}: ${words}`), ` – ${reason}`),
      ...(remarks ?? []).map((text) => make("p", { class: "why rule" }, text)),
    ];
  };

  const card = (c) => {
    const id = `column-${c.index}`;
    const box = make("input", { type: "checkbox" });
    box.checked = picked.has(c.index);
    box.addEventListener("change", () => {
      picked[box.checked ? "add" : "delete"](c.index);
      tell();
    });
    const title = make("h3", { id }, c.name === "" ? "(no name)" : c.name);
    const warned = c.warnings.length ? make("span", { class: "badge warn" }, c.warnings.length === 1 ? "1 warning" : `${c.warnings.length} warnings`) : null;
    return make("article", { class: "card column", "aria-labelledby": id },
      make("header", {}, title, make("span", { class: "type mono" }, c.type),
        make("span", { class: "badge" }, c.method ? c.method.name : "passes through"), warned,
        make("label", { class: "pick" }, box, "for print", make("span", { class: "sr" }, `: ${c.name}`))),
      ...advice(c),
      ...c.warnings.map((text) => make("p", { class: "alert" }, text)),
      make("div", { class: "charts" }, chart(c, null), c.method ? chart(c, c.method) : facts(c)),
      c.method ? facts(c) : null,
      make("div", { class: "more" }, quantiles(c), bins(c)));
  };

  const SVG = "http://www.w3.org/2000/svg";
  const spark = (c) => {
    if (!c.histogram) return "";
    const { bars, low, high } = shapeOf(c, null);
    const svg = document.createElementNS(SVG, "svg");
    for (const [key, value] of Object.entries({ class: "spark", width: 110, height: 22, viewBox: "0 0 110 22", "aria-hidden": true })) svg.setAttribute(key, value);
    const path = document.createElementNS(SVG, "path");
    const x = (value) => ((110 * (value - low)) / (high - low)).toFixed(1);
    path.setAttribute("d", bars.map((bar) => `M${x(bar.from)} 22V${(22 - 21 * bar.height).toFixed(1)}H${x(bar.to)}V22Z`).join(""));
    path.setAttribute("fill", "currentColor");
    svg.append(path);
    return svg;
  };

  const line = (c) => {
    const link = make("a", { href: "#list" }, c.name === "" ? "(no name)" : c.name);
    link.addEventListener("click", (event) => {
      event.preventDefault();
      byId("search").value = "";
      byId("filter").value = "all";
      setHow("cards");
      page = Math.floor(matching().indexOf(c) / CARDS);
      show();
      const title = byId(`column-${c.index}`);
      title.tabIndex = -1;
      title.focus({ preventScroll: true });
      title.closest("article").scrollIntoView();
    });
    const q = Object.fromEntries((c.quantiles ?? []).map((each) => [each.q, each.value]));
    const brief = (text) => (c.unit ? text.slice(0, 10) : text);  // the day of a time
    const cells = [many(c.nulls) ?? "–", many(c.outliers) ?? "–", figure(c.mean, 4), figure(c.std, 4), ...[figure(c.min, 4), valueOf(c, q[0.5] ?? null, 4), figure(c.max, 4)].map(brief), figure(c.skew, 3)];
    return make("tr", {}, make("th", { scope: "row" }, link), make("td", {}, spark(c)),
      make("td", { class: "mono kind" }, c.type), make("td", {}, c.method ? c.method.name : "–"),
      make("td", { class: "n" }, c.warnings.length ? make("span", { class: "badge warn" }, String(c.warnings.length)) : "–"),
      ...cells.map((text) => make("td", { class: "n" }, text)));
  };
  const HEADS = ["column", "", "type", "scaler", "warnings", "nulls", "outliers", "mean", "std", "min", "median", "max", "skewness"];
  const asTable = (some) => make("div", { class: "scroll card", role: "region", tabindex: 0, "aria-label": "All columns" },
    make("table", {}, make("caption", {}, "A click on a name shows the column."),
      make("thead", {}, make("tr", {}, ...HEADS.map((text, j) => make("th", { scope: "col", class: j > 3 ? "n" : null },
        text || make("span", { class: "sr" }, "shape"))))),
      make("tbody", {}, ...some.map(line))));

  // ------------------------------------------------------------------------------------------ what is shown

  const FILTERS = {
    all: () => true,
    warned: (c) => c.warnings.length > 0,
    normalized: (c) => Boolean(c.method),
    passing: (c) => !c.method,
    picked: (c) => picked.has(c.index),
  };
  const part = (n, of) => (of ? (n ?? 0) / of : 0);
  const ORDERS = {
    file: (a, b) => a.index - b.index,
    name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }) || a.index - b.index,
    warnings: (a, b) => b.warnings.length - a.warnings.length || a.index - b.index,
    nulls: (a, b) => part(b.nulls, rowsOf(b)) - part(a.nulls, rowsOf(a)) || a.index - b.index,
    outliers: (a, b) => part(b.outliers, b.count) - part(a.outliers, a.count) || a.index - b.index,
    skew: (a, b) => Math.abs(b.skew ?? 0) - Math.abs(a.skew ?? 0) || a.index - b.index,
  };
  const matching = () => {
    const wanted = byId("search").value.trim().toLowerCase();
    const filter = byId("filter").value;
    const keep = FILTERS[filter] ?? ((c) => c.method && c.method.name === filter);
    return columns
      .filter((c) => keep(c) && (!wanted || c.name.toLowerCase().includes(wanted) || c.type.toLowerCase().includes(wanted)))
      .sort(ORDERS[byId("order").value]);
  };
  const how = () => document.querySelector('input[name="how"]:checked').value;
  const setHow = (value) => { document.querySelector(`input[name="how"][value="${value}"]`).checked = true; };

  const tell = () => {
    const n = matching().length;
    const chosen = picked.size ? `, ${picked.size} to print` : "";
    found.textContent = `${many(n)} of ${many(columns.length)} columns${chosen}`;
  };

  const show = () => {
    forget(list);
    const all = matching();
    const size = how() === "cards" ? CARDS : ROWS;
    const pages = Math.max(1, Math.ceil(all.length / size));
    page = Math.min(Math.max(page, 0), pages - 1);
    const some = all.slice(page * size, (page + 1) * size);
    if (!some.length) list.replaceChildren(make("p", { class: "empty" }, "No column is like that."));
    else if (how() === "cards") list.replaceChildren(...some.map(card));
    else list.replaceChildren(asTable(some));
    for (const pager of pagers) {
      const [back, where, on] = pager.children;
      pager.hidden = pages === 1;
      back.disabled = page === 0;
      on.disabled = page === pages - 1;
      where.textContent = `page ${page + 1} of ${figure(pages)}`;
    }
    tell();
  };
  const fresh = () => { page = 0; show(); };

  for (const pager of pagers) {
    const turn = (by) => () => {
      page += by;
      show();
      list.focus({ preventScroll: true });
      list.scrollIntoView();
    };
    pager.children[0].addEventListener("click", turn(-1));
    pager.children[2].addEventListener("click", turn(1));
  }
  byId("search").addEventListener("input", fresh);
  for (const id of ["filter", "order"]) byId(id).addEventListener("change", fresh);
  for (const input of document.querySelectorAll('input[name="how"]')) input.addEventListener("change", fresh);
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    byId("search").focus();
  });

  // Paper has no pages to turn and no charts to wait for: the chosen columns, or all that match, as cards.
  addEventListener("beforeprint", () => {
    printing = true;
    const some = picked.size ? columns.filter((c) => picked.has(c.index)) : matching();
    forget(list);
    list.classList.add("paper");
    list.replaceChildren(...some.map(card));
    drawAll();
  });
  addEventListener("afterprint", () => { printing = false; list.classList.remove("paper"); show(); });
  byId("print").addEventListener("click", () => window.print());

  let width = innerWidth, later = 0;
  addEventListener("resize", () => {
    if (innerWidth === width || printing) return;
    width = innerWidth;
    clearTimeout(later);
    later = setTimeout(show, 150);
  });
  show();
})();
