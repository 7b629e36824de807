// The life of a task in order: spawn, wake-ups, polls, awaits, end. One line for each.
"use strict";

const life = (() => {
  const SPAWNED = 0;
  const WOKEN = 1;
  const POLLED = 2;
  const BEGAN = 3;
  const ENDED = 4;
  const OVER = 5;
  const SPAWNS = 6;
  const NAMES = ["spawned", "woken", "polled", "await began", "await ended", "over", "spawns"];

  function events(u) {
    const { units, awaits, polls, wakes } = model;
    const all = [];
    const add = (time, kind, item) => all.push({ time, kind, item });
    if (units.spawn[u] >= 0) add(units.spawn[u], SPAWNED, u);
    for (const w of model.wakesOf.of(u)) add(wakes.time[w], WOKEN, w);
    for (const p of model.pollsOf.of(u)) add(polls.begin[p], POLLED, p);
    for (const a of model.awaitsOf.of(u)) {
      add(awaits.start[a], BEGAN, a);
      if (!model.isOpen(a)) add(model.awaitEnd(a), ENDED, a);
    }
    for (const other of model.spawnedBy.of(u)) if (units.spawn[other] >= 0) add(units.spawn[other], SPAWNS, other);
    if (units.end[u] >= 0) add(units.end[u], OVER, u);
    // At one time: woken before polled before what the poll did.
    return all.sort((a, b) => a.time - b.time || a.kind - b.kind);
  }

  function what(event) {
    const { kind, item } = event;
    const { units, awaits, polls, wakes } = model;
    if (kind === SPAWNED) return `by ${model.unitName(units.spawn_by[item])}`;
    if (kind === WOKEN) return `${model.wakeWords(item).replace(/^woken /, "")}: ${model.words.effect[wakes.effect[item]]}`;
    if (kind === POLLED) return `${model.words.poll[polls.outcome[item]]} on ${model.unitName(polls.thread[item])}; ${model.wakeWords(polls.cause[item])}${facts.delay(item)}`;
    if (kind === BEGAN) return model.placeLabel(awaits.place[item]);
    if (kind === ENDED) return `${model.placeLabel(awaits.place[item])}: ${model.words.ended[awaits.ended[item]]}`;
    if (kind === SPAWNS) return model.unitLabel(item);
    return model.words.poll[units.ended[item]];
  }

  function took(event) {
    const { kind, item } = event;
    if (kind === POLLED) return model.polls.length[item] < 0 ? "not known" : (model.polls.exact[item] ? "" : "≤ ") + format.duration(model.polls.length[item]);
    if (kind === ENDED) return model.awaitDuration(item);
    return "";
  }

  // A table of it; `chosen(kind, item)` for a row of the graph.
  function table(u, chosen) {
    const all = events(u);
    const view = list.make({
      label: `Life of ${model.unitName(u)}`,
      empty: "Nothing of it is in this page.",
      columns: [
        { title: "time", width: "120px", narrow: true, number: true, text: (at) => format.moment(all[at].time), tip: (at) => main.clock(all[at].time) },
        { title: "after", width: "96px", number: true, hint: "since the line before", text: (at) => (at === 0 ? "" : `+${format.duration(all[at].time - all[at - 1].time)}`) },
        { title: "event", width: "110px", narrow: true, text: (at) => NAMES[all[at].kind] },
        { title: "took", width: "96px", narrow: true, number: true, text: (at) => took(all[at]) },
        { title: "what", width: "minmax(240px,1fr)", narrow: true, text: (at) => what(all[at]), tip: (at) => what(all[at]) },
      ],
      open: (at) => {
        const { kind, item } = all[at];
        if (kind === POLLED) chosen(rows.POLL, item);
        else if (kind === BEGAN || kind === ENDED) chosen(rows.AWAIT, item);
        else if (kind === SPAWNS) location.hash = `#task/${item}`;
      },
    });
    view.set(Int32Array.from(all, (_, at) => at));
    return view.node;
  }

  return { table };
})();
