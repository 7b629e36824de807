// The list of requests: filtered by words, duration and time, sorted, with its two pictures.
"use strict";

const requests = (() => {
  let table = null;
  let shown = new Int32Array(0);

  function make() {
    const { requests: all } = model;
    const filter = { words: [], what: -1, ended: -1, least: 0, low: 0, high: Infinity, from: -Infinity, to: Infinity };
    const everything = Int32Array.from({ length: model.requestCount }, (_, r) => r);
    const lengths = Float64Array.from(everything, model.requestLength);
    const longest = lengths.reduce((a, b) => Math.max(a, b), 1);
    const summary = dom.el("p", { class: "summary", role: "status" });
    const histogram = plot.histogram((low, high) => { Object.assign(filter, { low, high }); apply(); });
    const strip = plot.strip(model.span, (from, to) => { Object.assign(filter, { from, to }); apply(); });

    table = list.make({
      label: "Requests",
      empty: model.totals.requests === 0 ? "No requests in this recording. `asynctrace report FILE --request GLOB` names the async functions that are requests." : "No request fits the filter.",
      sort: "duration",
      columns: [
        { title: "id", width: "72px", narrow: true, number: true, key: (r) => all.id[r], text: (r) => String(all.id[r]) },
        { title: "start", width: "120px", number: true, key: (r) => all.start[r], text: (r) => format.moment(all.start[r]), tip: (r) => main.clock(all.start[r]), hint: "since the begin of the trace" },
        { title: "duration", width: "130px", narrow: true, number: true, key: (r) => lengths[r], fill: (cell, r) => {
          const share = Math.max(0.5, (100 * lengths[r]) / longest);
          dom.add(cell, [dom.el("span", { class: "bar", style: { width: `${share}%` } }), dom.el("span", { class: "over" }, model.requestDuration(r))]);
        } },
        { title: "ended", width: "88px", narrow: true, key: (r) => model.words.ended[all.ended[r]], fill: (cell, r) => {
          cell.textContent = model.words.ended[all.ended[r]];
          if (all.ended[r] === 4 || all.ended[r] === 3 || all.ended[r] === 0) cell.classList.add("mark-bad");
        } },
        { title: "function", width: "minmax(140px,1fr)", narrow: true, key: (r) => model.text(all.what[r]), text: (r) => format.short(model.text(all.what[r])), tip: (r) => model.text(all.what[r]) },
        { title: "task", width: "130px", key: (r) => model.unitName(all.task[r]), text: (r) => model.unitName(all.task[r]) },
        { title: "mostly", width: "minmax(220px,1.6fr)", hint: "the largest part of its critical path", key: mostly, text: mostly, tip: mostly },
      ],
      open: (r) => { location.hash = `#request/${all.id[r]}`; },
    });

    function mostly(r) {
      if (all.most_kind[r] < 0) return "not known";
      const part = format.percent(all.most[r], lengths[r]);
      const place = all.most_place[r] >= 0 ? model.placeLabel(all.most_place[r]) : "";
      return `${part} ${path.kindName(all.most_kind[r])} ${place}`;
    }

    const hay = (r) => [model.text(all.what[r]), model.unitName(all.task[r]), model.words.ended[all.ended[r]], `#${all.id[r]}`, mostly(r)].join(" ").toLowerCase();
    const hays = new Map();
    function has(r, words) {
      if (words.length === 0) return true;
      let text = hays.get(r);
      if (text === undefined) hays.set(r, (text = hay(r)));
      return words.every((word) => text.includes(word));
    }

    // The pictures show what the words let through; the list also minds what is chosen in them.
    function apply() {
      const named = everything.filter((r) => has(r, filter.words) && (filter.what < 0 || all.what[r] === filter.what)
        && (filter.ended < 0 || all.ended[r] === filter.ended) && lengths[r] >= filter.least);
      histogram.set(Float64Array.from(named, (r) => lengths[r]));
      strip.set({
        starts: Float64Array.from(named, (r) => all.start[r]),
        lengths: Float64Array.from(named, (r) => lengths[r]),
        bad: (at) => all.ended[named[at]] !== 2,
      });
      shown = named.filter((r) => lengths[r] >= filter.low && lengths[r] <= filter.high && all.start[r] >= filter.from && all.start[r] <= filter.to);
      table.set(shown);
      say();
    }

    function say() {
      const sorted = Float64Array.from(shown, (r) => lengths[r]).sort();
      const at = (part) => format.duration(sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)]);
      const open = shown.reduce((n, r) => n + (all.length[r] < 0 ? 1 : 0), 0);
      dom.fill(summary, shown.length === 0 ? "no request" : [
        dom.el("strong", {}, format.plural(shown.length, "request")), shown.length < model.requestCount ? ` of ${format.count(model.requestCount)}` : "",
        `: p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)}, max ${at(1)}`, open > 0 ? `; ${format.count(open)} still open, counted with the time they took so far` : "",
      ]);
    }

    // What slow ones have in common: a click leads to one of them, or chooses the time of a burst.
    function common() {
      const link = (id) => [dom.el("a", { href: `#request/${id}` }, String(id)), " "];
      const item = (kind) => [
        kind.because.map((b) => dom.el("li", {}, `${format.count(b.count)} of ${format.count(kind.slow)} spent ${format.duration(b.median)} in `,
          dom.el("strong", { title: model.text(b.future) }, format.short(model.text(b.future)) + (b.file >= 0 ? ` at ${format.file(model.text(b.file))}${b.line >= 0 ? `:${b.line}` : ""}` : "")),
          ` (others ${format.duration(b.others_median)}): requests `, b.requests.slice(0, 8).map(link), b.count > 8 ? "…" : "")),
        kind.unexplained > 0 ? dom.el("li", {}, `${format.count(kind.unexplained)} of ${format.count(kind.slow)}: no single await explains it`) : null,
        kind.bursts.length === 0 ? dom.el("li", {}, "in time they are spread as by chance") : kind.bursts.slice(0, 5).map((burst) => dom.el("li", {},
          `${format.count(burst.slow)} of ${format.count(kind.slow)} began within ${format.duration(burst.to - burst.from)}, at ${format.moment(burst.from)} `,
          dom.button("show these", () => { Object.assign(filter, { from: burst.from, to: burst.to }); apply(); }), ` (of all requests ${format.count(burst.requests)} began then)`)),
      ];
      return model.common.length === 0 ? null : dom.el("section", { class: "common" }, model.common.map((kind, at) => dom.el("details", { open: at === 0 },
        dom.el("summary", {}, `What the ${format.count(kind.slow)} slow ones of ${format.short(model.text(kind.what))} have in common (half took ${format.duration(kind.median)} or more, of the ${format.count(kind.others)} others ${format.duration(kind.others_median)})`),
        dom.el("ul", {}, item(kind)))));
    }

    function options(name, label, values, words) {
      const select = dom.el("select", { "aria-label": label, on: { change: () => { filter[name] = Number(select.value); apply(); } } },
        dom.el("option", { value: -1 }, label), values.map((value) => dom.el("option", { value }, words(value))));
      return select;
    }
    const distinct = (column) => Array.from(new Set(column)).slice(0, 300);
    const words = dom.el("input", { type: "search", placeholder: "filter: words in any column", "aria-label": "Filter requests", id: "filter", on: { input: () => {
      filter.words = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      apply();
    } } });
    const least = dom.el("input", { type: "text", class: "short-input", placeholder: "at least, e.g. 10 ms", "aria-label": "Shortest duration", on: { input: () => {
      const parsed = least.value.trim() === "" ? 0 : format.parse(least.value);
      least.setAttribute("aria-invalid", parsed === null ? "true" : "false");
      if (parsed !== null) { filter.least = parsed; apply(); }
    } } });
    const what = options("what", "all functions", distinct(all.what), (n) => format.short(model.text(n)));
    const ended = options("ended", "all outcomes", distinct(all.ended), (n) => model.words.ended[n]);
    const clear = dom.button("clear", () => {
      Object.assign(filter, { words: [], what: -1, ended: -1, least: 0, low: 0, high: Infinity, from: -Infinity, to: Infinity });
      words.value = least.value = "";
      least.removeAttribute("aria-invalid");
      what.value = ended.value = "-1";
      histogram.clear();
      strip.clear();
      apply();
    });

    const node = dom.el("div", { class: "page" },
      model.head.requests ? dom.el("p", { class: "muted" }, model.head.requests) : null,
      dom.el("div", { class: "tools" }, words, least, distinct(all.what).length > 1 ? what : null, ended, clear),
      model.requestCount > 0 ? dom.el("div", { class: "plots" },
        dom.el("figure", {}, dom.el("figcaption", {}, "durations (log scale); drag to choose"), dom.el("div", {}, histogram.node)),
        dom.el("figure", {}, dom.el("figcaption", {}, "when they began; higher is longer; red: not ended as ready"), dom.el("div", {}, strip.node))) : null,
      common(), summary, table.node);
    apply();
    return { node, shown: () => table.draw() };
  }

  // The request before or after this one in the list as it is sorted now.
  const beside = (r, step) => (table ? table.beside(r, step) : undefined);
  const place = (r) => (table ? [table.place(r), table.size()] : [-1, 0]);
  const select = (r) => table && table.select(r);

  return { make, beside, place, select };
})();
