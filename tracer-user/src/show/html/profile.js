// The await profile: where the tasks of the trace waited, summed over everything.
"use strict";

const profile = (() => {
  function make() {
    const { profile: all } = model;
    const everything = Int32Array.from({ length: all.place.length }, (_, at) => at);
    const most = everything.reduce((a, at) => Math.max(a, all.waiting[at]), 1);
    const name = (at) => model.placeName(all.place[at]);
    const number = (title, column, text, narrow, hint, width = "76px") => ({ title, width, number: true, narrow, hint, key: (at) => all[column][at], text: (at) => text(all[column][at]) });
    const table = list.make({
      label: "Await profile",
      empty: everything.length === 0 ? "No await is known in this recording." : "No await fits the filter.",
      sort: "waiting",
      columns: [
        { title: "waiting", width: "130px", narrow: true, number: true, hint: "time waited, all together", key: (at) => all.waiting[at], fill: (cell, at) => {
          dom.add(cell, [dom.el("span", { class: "bar", style: { width: `${Math.max(0.5, (100 * all.waiting[at]) / most)}%` } }), dom.el("span", { class: "over" }, format.duration(all.waiting[at]))]);
        } },
        number("count", "count", format.count, true),
        number("p50", "p50", format.duration, false, "of the duration of one"),
        number("p99", "p99", format.duration, true, "of the duration of one"),
        number("max", "max", format.duration, false, "of the duration of one"),
        number("polled", "polled", format.duration, false, "time inside polls of its task, all together"),
        number("open", "open", format.count, false, "not ended at the end of the trace", "52px"),
        number("cancelled", "cancelled", format.count, false),
        { title: "awaited", width: "minmax(160px,1.4fr)", narrow: true, key: name, text: name, tip: (at) => model.placeFull(all.place[at]) },
        { title: "at", width: "minmax(140px,1fr)", narrow: true, key: (at) => model.placeWhere(all.place[at]), text: (at) => model.placeWhere(all.place[at]) || "not known", tip: (at) => model.placeWhere(all.place[at], true) },
        { title: "waits for", width: "84px", key: (at) => model.placeWaits(all.place[at]), text: (at) => model.placeWaits(all.place[at]) },
      ],
    });
    const words = dom.el("input", { type: "search", placeholder: "filter: words in future, file, kind", "aria-label": "Filter awaits", on: { input: apply } });
    const leaves = dom.el("input", { type: "checkbox", on: { change: apply } });
    function apply() {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      table.set(everything.filter((at) => {
        const p = all.place[at];
        if (leaves.checked && !all.leaf[at]) return false;
        const hay = `${model.placeFull(p)} ${model.placeWhere(p, true)} ${model.placeWaits(p)}`.toLowerCase();
        return wanted.every((word) => hay.includes(word));
      }));
    }
    apply();
    const unknown = model.missing.suspensions_unknown;
    table.node.classList.add("short");
    return {
      node: dom.el("div", { class: "page" },
        dom.el("p", { class: "muted" }, `Over all ${format.plural(model.totals.awaits, "await")} of the recording. What holds others waits as long as they do; futures of tasks are in no row, as nobody awaits those.`,
          unknown > 0 ? ` Of ${format.plural(unknown, "suspension")} it is not known where the task stood: they are in no row.` : ""),
        dom.el("div", { class: "tools" }, words, dom.el("label", {}, leaves, " leaves only")), table.node, flame.make()),
      shown: () => table.draw(),
    };
  }

  return { make };
})();
