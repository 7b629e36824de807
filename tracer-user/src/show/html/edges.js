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

  // Many arrows as two paths: their lines, and their heads.
  function arrows() {
    const [lines, heads] = [new Path2D(), new Path2D()];
    return {
      line(x, from, to) {
        lines.moveTo(x, from);
        lines.lineTo(x, to);
        this.head(x, to, Math.sign(to - from) || 1);
      },
      head(x, to, way) {
        heads.moveTo(x, to);
        heads.lineTo(x - 3, to - 6 * way);
        heads.lineTo(x + 3, to - 6 * way);
        heads.closePath();
      },
      draw(c, colour, dashes) {
        c.strokeStyle = c.fillStyle = colour;
        c.lineWidth = 1;
        c.setLineDash(dashes);
        c.stroke(lines);
        c.fill(heads);
        c.setLineDash([]);
      },
    };
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
    const drawn = arrows();
    let count = 0;
    let before = [-1, -1, -1];
    for (let at = model.lowerBound(list, model.wakes.time, from); at < list.length && count < MOST; at += 1) {
      const time = model.wakes.time[list[at]];
      if (time > to) break;
      const [start, end] = [known.start[at], known.end[at]];
      if (end < 0 || Math.max(start, end) < first || Math.min(start < 0 ? end : start, end) > last) continue;
      const px = Math.round(x(time)) + 0.5;
      // Many within one pixel are one.
      if (px === before[0] && start === before[1] && end === before[2]) continue;
      before = [px, start, end];
      count += 1;
      const middle = y(end) + row / 2;
      if (start < 0 || start === end) drawn.head(px, middle - 2, 1);
      else drawn.line(px, y(start) + row / 2, middle + (end > start ? -4 : 4));
    }
    drawn.draw(c, dom.colours().wake, []);
  }

  function drawSpawns(c, view) {
    const { tree, tasks, x, y, first, last, row } = view;
    const drawn = arrows();
    let count = 0;
    for (const task of tasks) {
      const time = model.units.spawn[task];
      const within = model.units.spawn_within[task];
      if (time < 0 || within < 0 || count >= MOST) continue;
      const [start, end] = [tree.place(rows.AWAIT, within), tree.place(rows.TASK, task)];
      if (start < 0 || end < 0 || start === end || Math.max(start, end) < first || Math.min(start, end) > last) continue;
      count += 1;
      drawn.line(Math.round(x(time)) + 0.5, y(start) + row / 2, y(end) + row / 2 - 4);
    }
    drawn.draw(c, dom.colours().muted, [3, 2]);
  }

  // The critical path: a thick line in the rows where the time went by, and thin ones between them.
  // What falls into one pixel is drawn once, however many pieces it is.
  function drawPath(c, view) {
    const { known, path, x, y, first, last, from, to, row } = view;
    const { pieces } = model;
    c.fillStyle = dom.colours().path;
    const until = new Float64Array(Math.max(1, last - first + 1)).fill(-Infinity);
    const foot = (at) => y(at) + row - 5;
    const column = { px: -1, low: 0, high: 0 };
    const flush = () => {
      if (column.px >= 0 && column.low < column.high) {
        const [top, bottom] = [foot(Math.max(column.low, first - 1)), foot(Math.min(column.high, last + 1))];
        c.fillRect(column.px - 0.5, top, 1.5, bottom - top + 3);
      }
    };
    let before = -1;
    for (let p = path.first; p < path.first + path.count; p += 1) {
      const start = pieces.from[p];
      const end = start + pieces.length[p];
      if (end < from) continue;
      if (start > to) break;
      const at = known.piece[p - path.first];
      const px = x(start);
      if (at >= first && at <= last) {
        const right = Math.max(px + 1, x(end));
        if (right > until[at - first]) {
          const left = Math.max(px, until[at - first]);
          c.fillRect(left, foot(at), right - left, 3);
          until[at - first] = right;
        }
      }
      const touched = at >= 0 && before >= 0 && before !== at && Math.max(at, before) >= first && Math.min(at, before) <= last;
      if (touched) {
        const [low, high] = [Math.min(at, before), Math.max(at, before)];
        if (Math.round(px) === column.px) [column.low, column.high] = [Math.min(low, column.low), Math.max(high, column.high)];
        else {
          flush();
          Object.assign(column, { px: Math.round(px), low, high });
        }
      }
      before = at;
    }
    flush();
  }

  return { wakes, resolver, drawWakes, drawSpawns, drawPath };
})();
