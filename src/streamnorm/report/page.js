/* What every page does: the theme, tables that sort, charts that are drawn when they come into sight. */
"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const data = (name) => JSON.parse(byId("data-" + name).textContent);

  // The choice is kept for this browser where it lets pages keep something.
  const KEY = "streamnorm-theme";
  const kept = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const keep = (value) => { try { localStorage.setItem(KEY, value); } catch { /* it forgets, then */ } };
  const setTheme = (value) => {
    if (value === "light" || value === "dark") root.dataset.theme = value;
    else delete root.dataset.theme;
  };
  const chosen = ["light", "dark"].includes(kept()) ? kept() : "auto";
  setTheme(chosen);
  const box = document.querySelector(".switch");
  box.hidden = false;
  for (const input of box.querySelectorAll("input")) {
    input.checked = input.value === chosen;
    input.addEventListener("change", () => { setTheme(input.value); keep(input.value); });
  }

  // A table sorts by the values of its cells, numbers before text, unknown ones last.
  const valueOf = (cell) => (cell.dataset.value !== undefined ? Number(cell.dataset.value) : cell.textContent.trim());
  const order = (a, b) => {
    const unknown = (x) => x === "–" || Number.isNaN(x);
    if (unknown(a) || unknown(b)) return [unknown(a) - unknown(b), true];
    if (typeof a === "number" && typeof b === "number") return [a - b, false];
    return [String(a).localeCompare(String(b), "en", { numeric: true }), false];
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, j) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, other) => {
        const [way, always] = order(valueOf(one.cells[j]), valueOf(other.cells[j]));
        return down && !always ? -way : way;
      });
      table.tBodies[0].append(...rows);
    }));
  }

  // One runtime for all charts of the same specification.
  const runtimes = new Map();
  const view = (element, name, datasets = {}, signals = {}) => {
    if (!runtimes.has(name)) runtimes.set(name, vega.parse(data(name)));
    const drawn = new vega.View(runtimes.get(name), { renderer: "svg", hover: false });
    for (const [key, value] of Object.entries(signals)) drawn.signal(key, value);
    for (const [key, values] of Object.entries(datasets)) drawn.data(key, values);
    const inside = document.createElement("div");  // Vega puts a role and a label of its own there
    element.replaceChildren(inside);
    drawn.initialize(inside).run();
    inside.setAttribute("aria-hidden", "true");  // the element says what it shows
    return drawn;
  };

  const waiting = new Map();
  const drawNow = (element) => {
    const draw = waiting.get(element);
    if (!draw) return;
    waiting.delete(element);
    watcher.unobserve(element);
    draw();
  };
  const watcher = new IntersectionObserver(
    (entries) => entries.forEach((entry) => { if (entry.isIntersecting) drawNow(entry.target); }),
    { rootMargin: "300px" },
  );
  const whenSeen = (element, draw) => { waiting.set(element, draw); watcher.observe(element); };
  const drawAll = () => [...waiting.keys()].forEach(drawNow);
  addEventListener("beforeprint", drawAll);
  const forget = (element) => {
    for (const each of [...waiting.keys()]) if (element.contains(each)) { waiting.delete(each); watcher.unobserve(each); }
  };

  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const plot = figure.querySelector(".plot");
    whenSeen(plot, () => view(plot, figure.dataset.chart));
  }

  window.streamnorm = { data, view, whenSeen, drawAll, forget };
})();
