// The tables with their indexes, and the words for what stands in them.
"use strict";

const model = (() => {
  const NONE = -1;
  const LEFT_OUT = -2;
  const SPAWN = -3;
  // The page's data, once `open` was called.
  const m = { NONE, LEFT_OUT, SPAWN };

  // Rows of a table by a key, in order: `of(key)` is an array of row numbers.
  function group(keys, count) {
    const starts = new Int32Array(count + 1);
    for (const key of keys) if (key >= 0 && key < count) starts[key + 1] += 1;
    for (let at = 0; at < count; at += 1) starts[at + 1] += starts[at];
    const next = starts.slice();
    const items = new Int32Array(starts[count]);
    keys.forEach((key, row) => {
      if (key >= 0 && key < count) items[next[key]++] = row;
    });
    return { of: (key) => (key >= 0 && key < count ? items.subarray(starts[key], starts[key + 1]) : items.subarray(0, 0)) };
  }

  function open(all) {
    Object.assign(m, all);
    m.unitCount = all.units.kind.length;
    m.awaitCount = all.awaits.task.length;
    m.requestCount = all.requests.id.length;
    m.children = group(all.awaits.parent, m.awaitCount);
    m.awaitsOf = group(all.awaits.task, m.unitCount);
    m.pollsOf = group(all.polls.task, m.unitCount);
    m.wakesOf = group(all.wakes.task, m.unitCount);
    m.wakesBy = group(all.wakes.by, m.unitCount);
    m.spawnedIn = group(all.units.spawn_within, m.awaitCount);
    m.spawnedBy = group(all.units.spawn_by, m.unitCount);
  }

  const text = (number) => (number >= 0 ? m.strings[number] : "");

  // What is awaited at a place, in short and in full, and where.
  const placeName = (p) => (p >= 0 ? format.short(text(m.places.future[p])) : "");
  const placeFull = (p) => (p >= 0 ? text(m.places.future[p]) : "");
  function placeWhere(p, full) {
    if (!(p >= 0) || !(m.places.file[p] >= 0)) return "";
    const name = text(m.places.file[p]);
    const line = m.places.line[p];
    return (full ? name : format.file(name)) + (line >= 0 ? `:${line}` : "");
  }
  const placeWaits = (p) => (p >= 0 ? text(m.places.waits_for[p]) : "");
  function placeLabel(p) {
    const where = placeWhere(p);
    return where ? `${placeName(p)} at ${where}` : placeName(p);
  }

  function unitName(u) {
    if (u === LEFT_OUT) return "a unit that is not in this page";
    return u >= 0 ? text(m.units.name[u]) : "not known";
  }
  const isTask = (u) => u >= 0 && m.units.kind[u] === 0;
  const unitFuture = (u) => (u >= 0 ? text(m.units.future[u]) : "");
  const unitLabel = (u) => (unitFuture(u) ? `${unitName(u)} ${format.short(unitFuture(u))}` : unitName(u));

  // Times, in nanoseconds since the begin of the trace. What is open goes on to the end of it.
  const awaitEnd = (a) => (m.awaits.length[a] < 0 ? m.span : m.awaits.start[a] + m.awaits.length[a]);
  const awaitLength = (a) => Math.max(0, awaitEnd(a) - m.awaits.start[a]);
  const pollEnd = (p) => (m.polls.length[p] < 0 ? m.polls.begin[p] : m.polls.begin[p] + m.polls.length[p]);
  const requestLength = (r) =>
    (m.requests.length[r] < 0 ? Math.max(0, m.span - m.requests.start[r]) : m.requests.length[r]);
  const unitEnd = (u) => (m.units.end[u] >= 0 ? m.units.end[u] : isTask(u) ? m.span : m.units.last[u]);
  const isOpen = (a) => m.awaits.length[a] < 0;

  // A duration that may be only a lower bound: it goes on, or began before it was first seen.
  const atLeast = (ns, bound) => (bound ? "≥ " : "") + format.duration(ns);
  const awaitDuration = (a) => atLeast(awaitLength(a), isOpen(a) || m.awaits.at_least[a] > 0);
  const requestDuration = (r) => atLeast(requestLength(r), m.requests.length[r] < 0 || m.requests.at_least[r] > 0);

  // The wake-up in words: who did it, in which await, because of what.
  function wakeWords(w) {
    if (w === NONE) return "not known";
    if (w === LEFT_OUT) return "a wake-up that is not in this page";
    if (w === SPAWN) return "its spawn";
    const parts = [`woken by ${unitName(m.wakes.by[w])}`];
    if (m.wakes.within[w] >= 0) parts.push(`in ${placeLabel(m.awaits.place[m.wakes.within[w]])}`);
    if (m.wakes.origin[w] >= 0) parts.push(`for ${unitName(m.wakes.origin[w])}`);
    return parts.join(" ");
  }

  // The first row at or after `time` among `rows`, whose times are in order.
  function lowerBound(rows, column, time) {
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (column[rows[middle]] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  return Object.assign(m, {
    open, text, placeName, placeFull, placeWhere, placeWaits, placeLabel, unitName, unitLabel, unitFuture,
    isTask, awaitEnd, awaitLength, pollEnd, requestLength, unitEnd, isOpen, atLeast, awaitDuration,
    requestDuration, wakeWords, lowerBound,
  });
})();
