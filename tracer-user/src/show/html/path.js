// A critical path: as one line, summed by await, and piece after piece.
"use strict";

const path = (() => {
  // What the kinds of time mean, beside their names.
  const MEANS = {
    polled: "polled, on a CPU", blocked: "polled, its thread asleep in the kernel",
    preempted: "polled, its thread without a CPU", scheduled: "woken, not polled yet",
    waiting: "waited for something outside the traced tasks", unknown: "not known: events are missing",
  };
  const kindName = (kind) => model.words.piece[kind];

  // The pieces of a request as { first, count }; null when they are not in the page.
  function of(r) {
    const count = model.requests.pieces[r];
    return count < 0 ? null : { first: model.requests.pieces_from[r], count };
  }

  const where = (p) => {
    const { pieces } = model;
    if (pieces.place[p] >= 0) return model.placeLabel(pieces.place[p]);
    return model.unitLabel(pieces.unit[p]);
  };

  function cause(p) {
    const { pieces } = model;
    const name = kindName(pieces.kind[p]);
    if (name === "waiting" || name === "scheduled") return model.wakeWords(pieces.wake[p]);
    return "";
  }

  // Pieces of one kind at one place, with their sum, the greatest first.
  function sums(pieces) {
    const groups = new Map();
    for (let p = pieces.first; p < pieces.first + pieces.count; p += 1) {
      const name = `${model.pieces.kind[p]}/${model.pieces.place[p]}/${model.pieces.place[p] >= 0 ? "" : model.pieces.unit[p]}`;
      const group = groups.get(name) || { piece: p, sum: 0, count: 0 };
      group.sum += model.pieces.length[p];
      group.count += 1;
      groups.set(name, group);
    }
    return Array.from(groups.values()).sort((a, b) => b.sum - a.sum);
  }

  function strip(pieces, total, from) {
    const canvas = dom.el("canvas", { class: "path-strip", role: "img", "aria-label": `Critical path: ${format.plural(pieces.count, "piece")}, listed below` });
    const draw = dom.onFrame(() => {
      const width = canvas.parentElement ? canvas.parentElement.clientWidth : 300;
      const c = dom.context(canvas, width, 18);
      const colours = dom.colours();
      for (let p = pieces.first; p < pieces.first + pieces.count; p += 1) {
        const x = ((model.pieces.from[p] - from) / Math.max(1, total)) * width;
        const w = (model.pieces.length[p] / Math.max(1, total)) * width;
        c.fillStyle = colours[kindName(model.pieces.kind[p])];
        c.fillRect(x, 0, Math.max(0.5, w - (w > 4 ? 1 : 0)), 18);
      }
    });
    dom.whenResized(canvas, draw);
    draw();
    return canvas;
  }

  function swatch(kind) {
    return dom.el("span", { class: `swatch ${kindName(kind)}`, "aria-hidden": "true" });
  }

  // A request's critical path in two parts: what is seen at once, and the list. `look(from, to,
  // piece)`: a piece was chosen in the list.
  function parts(r, look) {
    const pieces = of(r);
    const total = model.requestLength(r);
    if (!pieces || pieces.count === 0) {
      const reason = pieces ? "Its critical path is not known." : "Its critical path is not in this page: the page has a limit of what it holds.";
      return { brief: dom.el("p", {}, `${reason} `, dom.el("code", {}, `asynctrace report FILE --id ${model.requests.id[r]}`), " works it out from the recording."), full: null };
    }
    const groups = sums(pieces);
    const sum = groups.reduce((all, group) => all + group.sum, 0);
    const kinds = new Map();
    for (const group of groups) kinds.set(model.pieces.kind[group.piece], (kinds.get(model.pieces.kind[group.piece]) || 0) + group.sum);
    const legend = dom.el("p", { class: "legend" }, Array.from(kinds).sort((a, b) => b[1] - a[1]).map(([kind, part]) =>
      dom.el("span", { title: MEANS[kindName(kind)] }, swatch(kind), `${kindName(kind)} ${format.duration(part)} (${format.percent(part, total)})`)));
    const place = dom.el("div", {});
    const byAwait = dom.button("summed by await", () => show(byAwait, summed(groups, total, look)));
    const inOrder = dom.button("in order", () => show(inOrder, ordered(pieces, total, model.requests.start[r], look)));
    function show(chosen, table) {
      for (const button of [byAwait, inOrder]) button.setAttribute("aria-pressed", button === chosen ? "true" : "false");
      dom.fill(place, table);
    }
    show(byAwait, summed(groups, total, look));
    return {
      brief: dom.el("section", {}, dom.el("p", { class: "answer" }, "Mostly: ", groups.slice(0, 2).map((group, at) => [at ? ", then " : "",
        dom.el("strong", {}, `${format.percent(group.sum, total)} ${kindName(model.pieces.kind[group.piece])}`), ` ${where(group.piece)} (${format.duration(group.sum)})`]), "."),
      strip(pieces, total, model.requests.start[r]), legend),
      full: dom.el("section", {}, dom.el("h3", {}, "Critical path"), dom.el("div", { class: "tools" },
        dom.el("span", { class: "group", role: "group", "aria-label": "Order" }, byAwait, inOrder),
        dom.el("span", { class: "muted" }, `${format.plural(pieces.count, "piece")}, together ${format.duration(sum)} of ${model.requestDuration(r)}; a click shows a piece in the graph`)), place),
    };
  }

  const kindColumn = { title: "time", width: "110px", narrow: true, fill: (cell, p) => dom.add(cell, [swatch(model.pieces.kind[p]), kindName(model.pieces.kind[p])]), tip: (p) => MEANS[kindName(model.pieces.kind[p])] };

  function summed(groups, total, look) {
    const of_piece = new Map(groups.map((group) => [group.piece, group]));
    const table = list.make({
      label: "Critical path, summed by await",
      empty: "no pieces",
      columns: [
        { title: "sum", width: "90px", narrow: true, number: true, key: (p) => of_piece.get(p).sum, text: (p) => format.duration(of_piece.get(p).sum) },
        { title: "share", width: "64px", narrow: true, number: true, text: (p) => format.percent(of_piece.get(p).sum, total) },
        { title: "pieces", width: "70px", number: true, key: (p) => of_piece.get(p).count, text: (p) => format.count(of_piece.get(p).count) },
        kindColumn,
        { title: "where", width: "minmax(200px,1fr)", narrow: true, text: where, tip: (p) => model.placeFull(model.pieces.place[p]) },
        { title: "task", width: "minmax(120px,0.5fr)", text: (p) => model.unitName(model.pieces.unit[p]) },
      ],
      sort: "sum",
      open: (p) => look(model.pieces.from[p], model.pieces.from[p] + model.pieces.length[p], p),
    });
    table.node.classList.add("short");
    table.set(Int32Array.from(groups, (group) => group.piece));
    return table.node;
  }

  function ordered(pieces, total, from, look) {
    const table = list.make({
      label: "Critical path, piece after piece",
      empty: "no pieces",
      columns: [
        { title: "from", width: "100px", narrow: true, number: true, key: (p) => model.pieces.from[p], text: (p) => `+${format.duration(Math.max(0, model.pieces.from[p] - from))}` },
        { title: "length", width: "90px", narrow: true, number: true, key: (p) => model.pieces.length[p], text: (p) => format.duration(model.pieces.length[p]) },
        { title: "share", width: "64px", number: true, text: (p) => format.percent(model.pieces.length[p], total) },
        kindColumn,
        { title: "where", width: "minmax(200px,1fr)", narrow: true, text: where, tip: (p) => model.placeFull(model.pieces.place[p]) },
        { title: "ended by", width: "minmax(160px,1fr)", text: cause, tip: cause },
      ],
      sort: "from",
      ascending: true,
      open: (p) => look(model.pieces.from[p], model.pieces.from[p] + model.pieces.length[p], p),
    });
    table.node.classList.add("short");
    table.set(Int32Array.from({ length: pieces.count }, (_, at) => pieces.first + at));
    return table.node;
  }

  return { of, parts, kindName };
})();
