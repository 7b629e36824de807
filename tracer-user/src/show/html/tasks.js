// The list of tasks, and the life of one.
"use strict";

const tasks = (() => {
  function make() {
    const { units } = model;
    const everything = Int32Array.from({ length: model.unitCount }, (_, u) => u).filter(model.isTask);
    const state = (u) => (units.end[u] >= 0 ? model.words.poll[units.ended[u]] : "open");
    const lifetime = (u) => Math.max(0, model.unitEnd(u) - units.first[u]);
    const open = (u) => units.end[u] < 0 || units.existing[u] > 0;
    const table = list.make({
      label: "Tasks",
      empty: everything.length === 0 ? "No tasks in this recording." : "No task fits the filter.",
      sort: "polled",
      columns: [
        { title: "task", width: "minmax(110px,150px)", narrow: true, key: (u) => units.number[u], text: model.unitName },
        { title: "future", width: "minmax(160px,1.4fr)", narrow: true, key: model.unitFuture, text: (u) => (model.unitFuture(u) ? format.short(model.unitFuture(u)) : "not known"), tip: model.unitFuture },
        { title: "state", width: "86px", narrow: true, key: state, text: state },
        { title: "first seen", width: "116px", number: true, key: (u) => units.first[u], text: (u) => format.moment(units.first[u]), tip: (u) => main.clock(units.first[u]) },
        { title: "lived", width: "100px", number: true, key: lifetime, text: (u) => model.atLeast(lifetime(u), open(u)) },
        { title: "polls", width: "78px", number: true, key: (u) => units.polls[u], text: (u) => format.count(units.polls[u]) },
        { title: "polled", width: "92px", narrow: true, number: true, key: (u) => units.polled[u], text: (u) => format.duration(units.polled[u]), hint: "time inside polls, all together" },
        { title: "longest poll", width: "104px", number: true, key: (u) => units.longest_poll[u], text: (u) => format.duration(units.longest_poll[u]) },
        { title: "awaits", width: "78px", number: true, key: (u) => units.awaits[u], text: (u) => format.count(units.awaits[u]) },
        { title: "woken", width: "78px", number: true, key: (u) => units.woken[u], text: (u) => format.count(units.woken[u]) },
      ],
      open: (u) => { location.hash = `#task/${u}`; },
    });
    const summary = dom.el("p", { class: "summary", role: "status" });
    const words = dom.el("input", { type: "search", placeholder: "filter: words in name, future, state", "aria-label": "Filter tasks", on: { input: apply } });
    function apply() {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const shown = everything.filter((u) => {
        const hay = `${model.unitName(u)} ${model.unitFuture(u)} ${state(u)}`.toLowerCase();
        return wanted.every((word) => hay.includes(word));
      });
      table.set(shown);
      dom.fill(summary, dom.el("strong", {}, format.plural(shown.length, "task")), shown.length < everything.length ? ` of ${format.count(everything.length)}` : "",
        model.left_out.units > 0 ? `; ${format.plural(model.left_out.units, "task or thread", "tasks and threads")} of the recording are not in this page` : "");
    }
    apply();
    return { node: dom.el("div", { class: "page" }, dom.el("div", { class: "tools" }, words), summary, table.node), shown: () => table.draw() };
  }

  // The life of one task.
  function one(u) {
    if (!model.isTask(u)) return { node: dom.el("div", { class: "page" }, dom.el("p", {}, "There is no such task in this page.")) };
    const details = dom.el("div", { class: "details", "aria-live": "polite" }, facts.of(rows.TASK, u));
    const tree = rows.make({
      tasks: [u],
      tops: (task) => model.awaitsOf.of(task).filter((a) => model.awaits.parent[a] < 0),
      polls: (task) => model.pollsOf.of(task),
      spawned: [],
    });
    const drawn = graph.make({
      label: `Graph of ${model.unitName(u)}`, tree, tasks: [u], from: Math.max(0, model.units.first[u]), to: model.unitEnd(u), path: null,
      chosen: (kind, item) => dom.fill(details, facts.of(kind, item)),
    });
    const of_task = Array.from({ length: model.requestCount }, (_, r) => r).filter((r) => model.requests.task[r] === u);
    const node = dom.el("div", { class: "page" },
      dom.el("nav", { class: "crumbs", "aria-label": "Where this is" }, dom.el("a", { href: "#tasks" }, "Tasks"), ` / ${model.unitName(u)}`),
      dom.el("h2", { title: model.unitFuture(u) }, model.unitLabel(u)),
      of_task.length > 0 ? dom.el("p", {}, `${format.plural(of_task.length, "request")} in it: `, of_task.slice(0, 20).map((r) => [dom.el("a", { href: `#request/${model.requests.id[r]}` }, `${model.requests.id[r]} (${model.requestDuration(r)})`), " "]), of_task.length > 20 ? "…" : "") : null,
      request.legend(), drawn.node, details, dom.el("h3", {}, "In order"),
      life.table(u, (kind, item) => {
        dom.fill(details, facts.of(kind, item));
        drawn.choose(kind, item);
      }));
    return { node, shown: () => drawn.draw() };
  }

  return { make, one };
})();
