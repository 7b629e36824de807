// What is known of one row of a graph, in words.
"use strict";

const facts = (() => {
  function table(pairs) {
    return dom.el("dl", { class: "facts" }, pairs
      .filter(([, value]) => value !== "" && value !== null && value !== undefined)
      .map(([name, value]) => dom.el("div", {}, dom.el("dt", {}, name), dom.el("dd", {}, value))));
  }

  const link = (u) => (model.isTask(u) ? dom.el("a", { href: `#task/${u}` }, model.unitLabel(u)) : model.unitName(u));

  function ofAwait(a) {
    const { awaits } = model;
    const p = awaits.place[a];
    const parent = awaits.parent[a];
    const by = model.text(model.places.by[p]);
    const began = awaits.at_least[a] ? "before it was first seen; the duration is a lower bound" : "";
    return table([
      ["awaits", model.placeFull(p)],
      ["is", [model.words.future[model.places.kind[p]], model.placeWaits(p) ? `, waits for: ${model.placeWaits(p)}` : ""].join("")],
      ["at", model.placeWhere(p, true) || "source line not known"],
      ["in", by || (parent === model.NONE ? "nothing above it: the task's own future" : "not known")],
      ["awaited by", parent === model.LEFT_OUT ? "an await that is not in this page" : ""],
      ["task", link(awaits.task[a])],
      ["began", began || format.moment(awaits.start[a])],
      ["took", model.awaitDuration(a)],
      ["of that waiting", `${format.duration(awaits.waiting[a])} ${share(awaits.waiting[a], a)}`],
      ["of that polled", `${format.duration(awaits.polled[a])} ${share(awaits.polled[a], a)} in ${format.plural(awaits.polls[a], "poll")} of its task`],
      ["ended", model.words.ended[awaits.ended[a]]],
      ["because", endCause(a)],
      ["moved", awaits.moved[a] > 0 ? `was awaited by ${format.plural(awaits.moved[a], "other instance")} before` : ""],
    ]);
  }

  const share = (part, a) => {
    const text = format.percent(part, model.awaitLength(a));
    return text ? `(${text})` : "";
  };

  // The poll in which an await ended tells why: what had the task scheduled then.
  function endCause(a) {
    if (model.isOpen(a)) return "";
    const polls = model.pollsOf.of(model.awaits.task[a]);
    const at = model.lowerBound(polls, model.polls.begin, model.awaitEnd(a));
    for (const p of [polls[at], polls[at - 1]]) {
      if (p === undefined || model.polls.begin[p] > model.awaitEnd(a) || model.pollEnd(p) < model.awaitEnd(a)) continue;
      return `${model.wakeWords(model.polls.cause[p])}${delay(p)}`;
    }
    return "not known";
  }

  // How long a task was scheduled before it was polled.
  function delay(p) {
    const w = model.polls.cause[p];
    if (!(w >= 0)) return "";
    return `, polled ${format.duration(Math.max(0, model.polls.begin[p] - model.wakes.time[w]))} later`;
  }

  function ofTask(u) {
    const { units } = model;
    const spawned = units.spawn[u] >= 0 ? `${format.moment(units.spawn[u])} by ` : "";
    const within = units.spawn_within[u];
    return table([
      ["task", link(u)],
      ["future", model.unitFuture(u) || "not known"],
      ["runs", units.blocking[u] ? "blocking work (spawn_blocking), not an async future" : ""],
      ["spawned", spawned ? [spawned, link(units.spawn_by[u]), within >= 0 ? ` in ${model.placeLabel(model.awaits.place[within])}` : ""]
        : units.existing[u] ? "before the trace began" : "not known"],
      ["ended", units.end[u] >= 0 ? `${format.moment(units.end[u])}: ${model.words.poll[units.ended[u]]}` : "not before the end of the trace"],
      ["aborted by", units.aborted_by[u] !== model.NONE ? link(units.aborted_by[u]) : ""],
      ["polls", `${shown(units.polls[u], model.pollsOf.of(u).length)}, ${format.duration(units.polled[u])} in all, the longest ${format.duration(units.longest_poll[u])}`],
      ["awaits", shown(units.awaits[u], model.awaitsOf.of(u).length)],
      ["wake-ups of it", shown(units.woken[u], model.wakesOf.of(u).length)],
      ["gaps", units.gaps[u] > 0 ? `events are missing in ${format.plural(units.gaps[u], "place")}` : ""],
    ]);
  }

  const shown = (all, here) => format.count(all) + (here < all ? ` (${format.count(here)} in this page)` : "");

  function ofPoll(p) {
    const { polls } = model;
    const bound = polls.exact[p] ? "" : " at most (its end was noticed by what came next)";
    return table([
      ["task", link(polls.task[p])],
      ["thread", model.unitName(polls.thread[p])],
      ["began", polls.begin_known[p] ? format.moment(polls.begin[p]) : "not seen"],
      ["took", polls.length[p] < 0 ? "its end was not seen" : format.duration(polls.length[p]) + bound],
      ["of that asleep in the kernel", polls.blocked[p] > 0 ? format.duration(polls.blocked[p]) : ""],
      ["of that without a CPU", polls.preempted[p] > 0 ? format.duration(polls.preempted[p]) : ""],
      ["ended", model.words.poll[polls.outcome[p]]],
      ["because", `${model.wakeWords(polls.cause[p])}${delay(p)}`],
    ]);
  }

  function of(kind, item) {
    if (kind === rows.AWAIT) return ofAwait(item);
    return kind === rows.POLL ? ofPoll(item) : ofTask(item);
  }

  return { of, link, delay };
})();
