// One request: what it was, its critical path, its graph.
"use strict";

const request = (() => {
  function find(id) {
    for (let r = 0; r < model.requestCount; r += 1) if (model.requests.id[r] === id) return r;
    return -1;
  }

  function make(id) {
    const r = find(id);
    if (r < 0) return { node: dom.el("div", { class: "page" }, dom.el("p", {}, `There is no request ${id} in this page.`)) };
    const { requests: all } = model;
    const cut = all.cut[r];
    const details = dom.el("div", { class: "details", "aria-live": "polite" }, dom.el("p", { class: "muted" }, "Choose a row to see what is known of it."));
    const drawn = cut === model.LEFT_OUT ? null : picture(r, details);
    const critical = path.parts(r, (from, to, piece) => {
      if (!drawn) return;
      drawn.look(from, to);
      if (!(model.pieces.within[piece] >= 0 && drawn.choose(rows.AWAIT, model.pieces.within[piece]))) drawn.choose(rows.TASK, model.pieces.unit[piece]);
    });
    const node = dom.el("div", { class: "page" }, head(r), critical.brief, dom.el("section", {},
      cut > 0 ? dom.el("p", { class: "warning" }, `${format.plural(cut, "await")} of it are not in this page: the page has a limit of what it holds.`) : null,
      drawn ? [legend(), drawn.node, details]
        : dom.el("p", {}, "Its graph is not in this page: the slowest requests come first, and the page has a limit of what it holds. ", dom.el("code", {}, `asynctrace report FILE --id ${id}`), " prints it from the recording.")), critical.full);
    return { node, shown: () => drawn && drawn.draw() };
  }

  function head(r) {
    const { requests: all } = model;
    const [place, size] = requests.place(r);
    const step = (by, text, key) => {
      const other = requests.beside(r, by);
      return dom.el("a", { class: "step", href: other === undefined ? undefined : `#request/${all.id[other]}`, "aria-disabled": other === undefined ? "true" : undefined, "aria-keyshortcuts": key }, text);
    };
    const began = all.at_least[r] ? "began before it was first seen" : `began ${format.moment(all.start[r])}`;
    return dom.el("div", { class: "request-head" },
      dom.el("nav", { class: "crumbs", "aria-label": "Where this is" }, dom.el("a", { href: "#requests" }, "Requests"), " / ",
        `${all.id[r]}`, place >= 0 ? dom.el("span", { class: "muted" }, ` (${format.count(place + 1)} of ${format.count(size)} in the list) `) : " ", step(-1, "previous", "k"), " ", step(1, "next", "j")),
      dom.el("h2", { title: model.text(all.what[r]) }, `${format.short(model.text(all.what[r]))}: ${model.requestDuration(r)}`),
      dom.el("p", {}, `${model.words.ended[all.ended[r]]}; ${began}${main.clock(all.start[r]) ? ` (${main.clock(all.start[r])})` : ""}; in `, facts.link(all.task[r]),
        dom.el("br"), dom.el("code", {}, model.text(all.what[r]))));
  }

  function picture(r, details) {
    const { requests: all } = model;
    const [from, to] = [all.start[r], all.start[r] + model.requestLength(r)];
    const own = all.task[r];
    const listed = (items, starts) => Array.from(items.slice(starts[r], r + 1 < model.requestCount ? starts[r + 1] : items.length)).filter((item) => item >= 0);
    const spawned = listed(all.spawned, all.spawned_from);
    // What woke it from other tasks: of those tasks only that await.
    const wakers = new Set(listed(all.wakers, all.wakers_from));
    for (const a of alongPath(r, own, spawned)) wakers.add(a);
    const wakersOf = (task) => Array.from(wakers).filter((a) => model.awaits.task[a] === task);
    const polls = new Map();
    const pollsIn = (task) => {
      // Only those of its time: a connection's task may have served thousands of others.
      if (!polls.has(task)) {
        const every = model.pollsOf.of(task);
        const low = model.lowerBound(every, model.polls.begin, from);
        const high = model.lowerBound(every, model.polls.begin, to + 1);
        polls.set(task, every.subarray(low > 0 && model.pollEnd(every[low - 1]) > from ? low - 1 : low, high));
      }
      return polls.get(task);
    };
    // Tasks whose spawning await is not known, or is not in the page, stand beside its own.
    const loose = spawned.filter((task) => model.units.spawn_within[task] < 0);
    const others = Array.from(new Set(Array.from(wakers, (a) => model.awaits.task[a]))).filter((task) => task >= 0 && task !== own && !spawned.includes(task));
    const tree = rows.make({
      tasks: own >= 0 ? [own, ...loose, ...others] : [...loose, ...others],
      tops: (task) => {
        if (task === own) return [all.root[r], ...wakersOf(task)].filter((a) => a >= 0);
        if (others.includes(task)) return wakersOf(task);
        return Array.from(model.awaitsOf.of(task).filter((a) => model.awaits.parent[a] < 0)).concat(wakersOf(task));
      },
      polls: pollsIn,
      spawned,
      bare: wakers,
    });
    return graph.make({
      label: `Graph of request ${all.id[r]}`, tree, tasks: own >= 0 ? [own, ...spawned] : spawned, from, to, path: path.of(r),
      chosen: (kind, item) => dom.fill(details, facts.of(kind, item)),
    });
  }

  // Awaits of other tasks that the critical path goes through: they have rows, too, so that it can
  // be followed with the eye.
  function alongPath(r, own, spawned) {
    const pieces = path.of(r);
    const [found, inside] = [new Set(), new Set([own, ...spawned])];
    for (let p = pieces ? pieces.first : 0; pieces && p < pieces.first + pieces.count && found.size < 300; p += 1) {
      const within = model.pieces.within[p];
      if (within >= 0 && !inside.has(model.awaits.task[within])) found.add(within);
    }
    return found;
  }

  function legend() {
    const entry = (name, text) => dom.el("span", {}, dom.el("span", { class: `swatch ${name}`, "aria-hidden": "true" }), text);
    return dom.el("p", { class: "legend" }, entry("leaf", "await of a leaf"), entry("inner", "await of what holds others"), entry("polled", "poll"),
      entry("path", "critical path"), entry("wake", "wake-up (a lone triangle: from outside)"), entry("bad", "cancelled or panicked"));
  }

  return { make, legend, find };
})();
