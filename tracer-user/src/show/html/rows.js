// The rows of a graph: tasks, in them their polls and awaits, in those what they await and the
// tasks they spawned. Each can be closed; what is closed hides what is in it.
"use strict";

const rows = (() => {
  const TASK = 0;
  const AWAIT = 1;
  const POLLS = 2;
  const POLL = 3;
  const KEY = 2 ** 32;

  // A tree of rows. `tasks`: the tasks at the top; `tops(task)`: the awaits directly in it;
  // `polls(task)`: its polls; `spawned`: tasks that may stand below the await that spawned them;
  // `bare`: awaits that are shown without what is in them.
  function make({ tasks, tops, polls, spawned, bare }) {
    const closed = new Set();
    const inside = new Set(spawned);
    const view = { kind: [], item: [], depth: [], open: [], up: [] };
    // The row of each await and task that has one, otherwise -1.
    const rowOf = { [TASK]: new Int32Array(model.unitCount), [AWAIT]: new Int32Array(model.awaitCount), [POLLS]: new Map(), [POLL]: new Map() };
    const key = (kind, item) => kind * KEY + item;
    let version = 0;

    function below(kind, item) {
      if (kind === TASK) {
        const list = Array.from(tops(item), (a) => [AWAIT, a]);
        if (polls(item).length > 0) list.unshift([POLLS, item]);
        return list;
      }
      if (kind === POLLS) return Array.from(polls(item), (p) => [POLL, p]);
      if (kind === POLL || (kind === AWAIT && bare && bare.has(item))) return [];
      const list = Array.from(model.children.of(item), (a) => [AWAIT, a]);
      for (const task of model.spawnedIn.of(item)) if (inside.has(task)) list.push([TASK, task]);
      const start = ([k, i]) => (k === TASK ? model.units.first[i] : model.awaits.start[i]);
      return list.length > 1 ? list.sort((a, b) => start(a) - start(b)) : list;
    }

    function rebuild() {
      for (const column of Object.values(view)) column.length = 0;
      rowOf[TASK].fill(-1);
      rowOf[AWAIT].fill(-1);
      rowOf[POLL].clear();
      version += 1;
      // Depth first, without recursion: chains of awaits may be thousands deep.
      const stack = [];
      const push = (list, depth, up) => {
        for (let at = list.length - 1; at >= 0; at -= 1) stack.push([list[at][0], list[at][1], depth, up]);
      };
      push(tasks.map((task) => [TASK, task]), 0, -1);
      while (stack.length > 0) {
        const [kind, item, depth, up] = stack.pop();
        // A damaged recording may lead to a task twice.
        if ((kind === TASK || kind === AWAIT) && rowOf[kind][item] >= 0) continue;
        const at = view.kind.length;
        const shut = closed.has(key(kind, item));
        const next = below(kind, item);
        view.kind.push(kind);
        view.item.push(item);
        view.depth.push(depth);
        view.up.push(up);
        view.open.push(next.length === 0 ? -1 : shut ? 0 : 1);
        if (kind === TASK || kind === AWAIT) rowOf[kind][item] = at;
        else rowOf[kind].set(item, at);
        if (!shut) push(next, depth + 1, at);
      }
    }

    // The row of something, or of what hides it; -1 when it is not in this tree.
    function place(kind, item) {
      for (let steps = 0; steps < 10000 && item >= 0; steps += 1) {
        if (kind === POLL || kind === POLLS) {
          const row = rowOf[kind].get(item);
          if (row !== undefined) return row;
          item = kind === POLL ? model.polls.task[item] : item;
          kind = TASK;
        }
        const row = rowOf[kind][item];
        if (row >= 0) return row;
        const parent = kind === AWAIT ? model.awaits.parent[item] : model.units.spawn_within[item];
        if (kind === TASK && !inside.has(item)) return -1;
        if (kind === AWAIT && parent < 0) [kind, item] = [TASK, model.awaits.task[item]];
        else [kind, item] = [AWAIT, parent];
      }
      return -1;
    }

    function set(kind, item, open) {
      if (open) closed.delete(key(kind, item));
      else closed.add(key(kind, item));
    }

    // Opens what there is down to a level: `tasks`, `awaits`, `polls`.
    function level(name) {
      closed.clear();
      const all = [...tasks, ...inside];
      for (const task of all) if (name !== "polls") set(POLLS, task, false);
      if (name === "tasks") for (const task of all) for (const a of tops(task)) set(AWAIT, a, false);
      rebuild();
    }

    level("awaits");
    return {
      view,
      level,
      size: () => view.kind.length,
      place,
      toggle(at) {
        if (view.open[at] < 0) return;
        set(view.kind[at], view.item[at], view.open[at] === 0);
        rebuild();
      },
      // The row that this one is in.
      parent: (at) => view.up[at],
      // Changes whenever rows do.
      version: () => version,
    };
  }

  // What a row says of itself: name, and its time as [from, to] in nanoseconds.
  function name(kind, item) {
    if (kind === TASK) return model.unitLabel(item);
    if (kind === POLLS) return "polls";
    if (kind === POLL) return `poll: ${model.words.poll[model.polls.outcome[item]]}`;
    return model.placeName(model.awaits.place[item]);
  }

  function time(kind, item) {
    if (kind === TASK || kind === POLLS) return [model.units.first[item], model.unitEnd(item)];
    if (kind === POLL) return [model.polls.begin[item], model.pollEnd(item)];
    return [model.awaits.start[item], model.awaitEnd(item)];
  }

  return { make, name, time, TASK, AWAIT, POLLS, POLL };
})();
