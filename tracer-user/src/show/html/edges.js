// What leads from one row of a graph to another: wake-ups, spawns, and the critical path.
"use strict";

const edges = (() => {
  const MOST = 3000;

  // Wake-ups of these tasks between two times that had an effect, in order of time.
  function wakes(tasks, from, to) {
    const found = [];
    for (const task of tasks) {
      const all = model.wakesOf.of(task);
      for (let at = model.lowerBound(all, model.wakes.time, from); at < all.length; at += 1) {
        const w = all[at];
        if (model.wakes.time[w] > to) break;
        if (model.wakes.effect[w] <= 1) found.push(w);
      }
    }
    return found.sort((a, b) => model.wakes.time[a] - model.wakes.time[b]);
  }

  // The row that a wake-up came from: the waker's await, else its task; -1 when it came from
  // outside of this graph.
  function source(tree, w) {
    const within = model.wakes.within[w];
    const at = within >= 0 ? tree.place(rows.AWAIT, within) : -1;
    return at >= 0 ? at : tree.place(rows.TASK, model.wakes.by[w]);
  }

  // The row that it led to: the leaf that the task waited in, where it is the only one.
  function target(tree, w) {
    const poll = model.wakes.poll[w];
    const leaf = poll >= 0 ? model.polls.leaf[poll] : -1;
    const at = leaf >= 0 ? tree.place(rows.AWAIT, leaf) : -1;
    return at >= 0 ? at : tree.place(rows.TASK, model.wakes.task[w]);
  }

  // The rows of wake-ups and pieces in the present state of the tree: looked up once, not for each
  // frame.
  function resolver(tree, list, path) {
    let version = -1;
    const known = { start: new Int32Array(list.length), end: new Int32Array(list.length), piece: new Int32Array(path ? path.count : 0) };
    return () => {
      if (version === tree.version()) return known;
      version = tree.version();
      list.forEach((w, at) => {
        known.start[at] = source(tree, w);
        known.end[at] = target(tree, w);
      });
      known.piece.forEach((_, at) => {
        const p = path.first + at;
        const within = model.pieces.within[p];
        const row = within >= 0 ? tree.place(rows.AWAIT, within) : -1;
        known.piece[at] = row >= 0 ? row : tree.place(rows.TASK, model.pieces.unit[p]);
      });
      return known;
    };
  }

  function arrow(c, x, from, to) {
    c.beginPath();
    c.moveTo(x, from);
    c.lineTo(x, to);
    c.stroke();
    const way = Math.sign(to - from) || 1;
    c.beginPath();
    c.moveTo(x, to);
    c.lineTo(x - 3, to - 5 * way);
    c.lineTo(x + 3, to - 5 * way);
    c.fill();
  }

  // Draws the wake-ups that touch the rows in sight. One from outside is a mark at its target.
  function drawWakes(c, view) {
    const { known, list, x, y, first, last, from, to, row } = view;
    const colours = dom.colours();
    c.strokeStyle = colours.wake;
    c.fillStyle = colours.wake;
    c.lineWidth = 1;
    c.setLineDash([]);
    let drawn = 0;
    let before = "";
    for (let at = model.lowerBound(list, model.wakes.time, from); at < list.length && drawn < MOST; at += 1) {
      const w = list[at];
      const time = model.wakes.time[w];
      if (time > to) break;
      const [start, end] = [known.start[at], known.end[at]];
      if (end < 0) continue;
      if (Math.max(start, end) < first || Math.min(start < 0 ? end : start, end) > last) continue;
      const px = Math.round(x(time)) + 0.5;
      const name = `${px} ${start} ${end}`;
      // Many within one pixel are one.
      if (name === before) continue;
      before = name;
      drawn += 1;
      const middle = y(end) + row / 2;
      if (start < 0 || start === end) {
        c.beginPath();
        c.moveTo(px, middle - 1);
        c.lineTo(px - 3, middle - 8);
        c.lineTo(px + 3, middle - 8);
        c.fill();
      } else arrow(c, px, y(start) + row / 2, middle + (end > start ? -4 : 4));
    }
  }

  function drawSpawns(c, view) {
    const { tree, tasks, x, y, first, last, row } = view;
    c.strokeStyle = dom.colours().muted;
    c.fillStyle = dom.colours().muted;
    c.lineWidth = 1;
    c.setLineDash([3, 2]);
    let drawn = 0;
    for (const task of tasks) {
      const time = model.units.spawn[task];
      const end = tree.place(rows.TASK, task);
      const within = model.units.spawn_within[task];
      if (time < 0 || end < 0 || within < 0 || drawn >= MOST) continue;
      const start = tree.place(rows.AWAIT, within);
      if (start < 0 || start === end || Math.max(start, end) < first || Math.min(start, end) > last) continue;
      drawn += 1;
      arrow(c, Math.round(x(time)) + 0.5, y(start) + row / 2, y(end) + row / 2 - 4);
    }
    c.setLineDash([]);
  }

  // The critical path: a thick line in the rows where the time went by.
  function drawPath(c, view) {
    const { known, path, x, y, first, last, from, to, row } = view;
    const { pieces } = model;
    c.strokeStyle = dom.colours().path;
    c.fillStyle = dom.colours().path;
    let [beforeRow, beforeX] = [-1, 0];
    for (let p = path.first; p < path.first + path.count; p += 1) {
      const start = pieces.from[p];
      const end = start + pieces.length[p];
      if (end < from) continue;
      if (start > to) break;
      const at = known.piece[p - path.first];
      if (at < 0) {
        beforeRow = -1;
        continue;
      }
      const [px, width] = [x(start), Math.max(1, x(end) - x(start))];
      const height = y(at) + row - 5;
      if (at >= first && at <= last) c.fillRect(px, height, width, 3);
      if (beforeRow >= 0 && beforeRow !== at && !(Math.max(at, beforeRow) < first || Math.min(at, beforeRow) > last) && px - beforeX >= 0) {
        c.fillRect(px - 0.5, Math.min(height, y(beforeRow) + row - 5), 1.5, Math.abs(at - beforeRow) * row + 3);
      }
      [beforeRow, beforeX] = [at, px];
    }
  }

  return { wakes, resolver, drawWakes, drawSpawns, drawPath };
})();
