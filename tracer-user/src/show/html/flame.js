// The await profile as a flame graph: what is awaited stands below what awaits it, as wide as the
// time it took. A click or Enter zooms; Escape goes back.
"use strict";

const flame = (() => {
  const ROW = 20;
  const MOST = 2500;

  // Sums of each vertex and all below it, for one measure.
  function totals(own) {
    const sums = Float64Array.from(own);
    const { parent } = model.flame;
    // Parents stand before their children.
    for (let v = sums.length - 1; v >= 0; v -= 1) if (parent[v] >= 0) sums[parent[v]] += sums[v];
    return sums;
  }

  // The root of each: -1. Children by size, so that the wide ones stand together.
  function childrenOf(sums) {
    const children = new Map();
    for (let v = 0; v < sums.length; v += 1) {
      if (!(sums[v] > 0)) continue;
      const up = model.flame.parent[v];
      if (!children.has(up)) children.set(up, []);
      children.get(up).push(v);
    }
    for (const list of children.values()) list.sort((a, b) => sums[b] - sums[a]);
    return children;
  }

  function make() {
    const MEASURES = { "waiting time": "waiting", "polled time": "polled", "number of awaits": "count" };
    let measure = "waiting";
    let [sums, children] = [null, null];
    let root = -1;
    const place = dom.el("div", { class: "flame", role: "tree", "aria-label": "Flame graph of awaits", on: { keydown: key } });
    const crumbs = dom.el("nav", { class: "crumbs", "aria-label": "Zoom" });
    const told = dom.el("p", { class: "summary", role: "status" }, " ");
    const value = (n) => (measure === "count" ? format.plural(n, "await") : format.duration(n));
    const whole = () => (children.get(-1) || []).reduce((sum, v) => sum + sums[v], 0);

    function choose(name) {
      measure = name;
      sums = totals(model.flame[measure]);
      children = childrenOf(sums);
      if (root >= 0 && !(sums[root] > 0)) root = -1;
      draw();
    }

    function chain(v) {
      const up = [];
      for (let at = v; at >= 0; at = model.flame.parent[at]) up.unshift(at);
      return up;
    }

    const draw = dom.onFrame(() => {
      const width = place.clientWidth;
      if (width === 0) return;
      const focused = document.activeElement && place.contains(document.activeElement) ? Number(document.activeElement.dataset.v) : null;
      const nodes = [];
      let deepest = 0;
      let hidden = 0;
      const total = root < 0 ? whole() : sums[root];
      const above = root < 0 ? [] : chain(root);
      above.forEach((v, depth) => nodes.push(box(v, 0, width, depth)));
      const queue = [[root, 0, above.length]];
      for (let at = 0; at < queue.length; at += 1) {
        const [up, left, depth] = queue[at];
        let x = left;
        for (const v of children.get(up) || []) {
          const w = total > 0 ? (sums[v] / total) * width : 0;
          // Too narrow to be seen: what is below it is narrower.
          if (w < 1 || nodes.length >= MOST) { hidden += 1; continue; }
          nodes.push(box(v, x, w, depth));
          deepest = Math.max(deepest, depth);
          queue.push([v, x, depth + 1]);
          x += w;
        }
      }
      if (nodes.length === 0) nodes.push(dom.el("p", { class: "empty" }, "Nothing to show: no await has any of it."));
      dom.fill(place, nodes);
      place.style.setProperty("height", `${(Math.max(deepest, above.length - 1) + 1) * ROW + 4}px`);
      const next = place.querySelector(focused === null ? ".box" : `[data-v="${focused}"]`) || place.querySelector(".box");
      if (next) next.tabIndex = 0;
      if (next && focused !== null) next.focus();
      trail(hidden);
    });

    function trail(hidden) {
      dom.fill(crumbs, dom.button("everything", () => zoom(-1)),
        root < 0 ? null : chain(root).slice(-6).map((v) => [" / ", dom.button(model.placeName(model.flame.place[v]), () => zoom(v))]),
        dom.el("span", { class: "muted" }, ` ${value(root < 0 ? whole() : sums[root])}`),
        hidden > 0 ? dom.el("span", { class: "muted" }, `; ${format.plural(hidden, "vertex", "vertices")} too narrow to draw: zoom in`) : null);
    }

    function say(v) {
      const p = model.flame.place[v];
      const own = model.flame[measure][v];
      const where = model.placeWhere(p, true);
      told.textContent = `${model.placeFull(p)}${where ? ` at ${where}` : ""}: ${value(sums[v])} (${format.percent(sums[v], whole())} of all), of that its own ${value(own)}; ${format.plural(model.flame.count[v], "await")}`;
    }

    function box(v, left, width, depth) {
      const p = model.flame.place[v];
      const name = model.placeName(p);
      const leaf = !children.has(v);
      return dom.el("div", {
        class: `box ${leaf ? "leaf" : "inner"}${depth % 2 ? " odd" : ""}`, role: "treeitem", tabindex: "-1", "data-v": v, "aria-level": depth + 1,
        "aria-label": `${model.placeLabel(p)}, ${value(sums[v])}`, title: `${model.placeFull(p)}\n${model.placeWhere(p, true)}\n${value(sums[v])}`,
        style: { left: `${left}px`, width: `${Math.max(1, width - 1)}px`, top: `${depth * ROW}px` },
        on: { click: () => zoom(v), focus: () => say(v), mouseenter: () => say(v) },
      }, width > 24 ? `${name}  ${value(sums[v])}` : "");
    }

    function zoom(v) {
      root = v === root && v >= 0 ? model.flame.parent[v] : v;
      draw();
    }

    function key(event) {
      const v = Number(event.target.dataset.v);
      if (event.key === "Escape") zoom(-1);
      else if (!Number.isInteger(v)) return;
      else if (event.key === "Enter" || event.key === " ") zoom(v);
      else {
        const up = model.flame.parent[v];
        const beside = children.get(up) || [];
        const to = { ArrowUp: up, ArrowDown: (children.get(v) || [])[0], ArrowLeft: beside[beside.indexOf(v) - 1], ArrowRight: beside[beside.indexOf(v) + 1] }[event.key];
        if (to === undefined) return;
        const node = place.querySelector(`[data-v="${to}"]`);
        if (node) {
          event.target.tabIndex = -1;
          node.tabIndex = 0;
          node.focus();
        }
      }
      event.preventDefault();
    }

    const measures = dom.el("select", { "aria-label": "Width", on: { change: () => choose(measures.value) } },
      Object.entries(MEASURES).map(([name, column]) => dom.el("option", { value: column }, name)));
    dom.whenResized(place, draw);
    choose("waiting");
    const left_out = model.flame.left_out;
    return dom.el("section", {},
      dom.el("h3", {}, "Flame graph"),
      dom.el("p", { class: "muted" }, "What is awaited stands below what awaits it. Branches that wait at the same time count each, so that a sum may be more than the time that passed.",
        left_out > 0 ? ` ${format.plural(left_out, "await")} are not in it: there are too many different stacks.` : ""),
      dom.el("div", { class: "tools" }, dom.el("label", {}, "width: ", measures), crumbs), told, place);
  }

  return { make };
})();
