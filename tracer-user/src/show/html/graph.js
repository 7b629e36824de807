// A graph over time: a row for each task and await, names at the left, bars at the right. Names are
// elements (only those in sight), bars are drawn on one canvas as large as the window.
"use strict";

const graph = (() => {
  const ROW = 22;
  let made = 0;

  // `tree`: rows; `tasks`: all tasks in it; `from`, `to`: its time; `path`: { first, count } of the
  // pieces of a critical path; `chosen(kind, item)`: a row was chosen.
  function make({ label, tree, tasks, from, to, path, chosen }) {
    const id = `graph${(made += 1)}`;
    const list = edges.wakes(tasks, from, to);
    const resolved = edges.resolver(tree, list, path);
    const whole = [from, Math.max(to, from + 1)];
    let [left, right] = whole;
    let current = -1;
    let wakesShown = true;
    const axis = dom.el("canvas", { class: "axis", "aria-hidden": "true" });
    const bars = dom.el("canvas", { class: "bars", "aria-hidden": "true" });
    const body = dom.el("div", { class: "graph-body", role: "presentation" });
    const scroller = dom.el("div", {
      class: "graph-scroll", role: "treegrid", tabindex: "0", "aria-label": label,
      on: { scroll: () => draw(), keydown: key, click, wheel },
    }, dom.el("div", { class: "graph-sticky" }, bars), body);
    const node = dom.el("section", { class: "graph" }, tools(), dom.el("div", { class: "graph-head" }, axis), scroller);
    dragToMove();

    function tools() {
      const wakes = dom.el("input", { type: "checkbox", checked: true, on: { change: (event) => { wakesShown = event.target.checked; draw(); } } });
      return dom.el("div", { class: "tools" },
        dom.el("span", { class: "group", role: "group", "aria-label": "Levels" }, "Show ",
          ["tasks", "awaits", "polls"].map((name) => dom.button(name, () => { tree.level(name); current = -1; draw(); }))),
        dom.el("span", { class: "group", role: "group", "aria-label": "Zoom" }, "Zoom ",
          dom.button("+", () => zoom(0.5), { "aria-label": "closer" }), dom.button("−", () => zoom(2), { "aria-label": "further" }),
          dom.button("all", () => { [left, right] = whole; draw(); })),
        dom.el("label", {}, wakes, " wake-ups"),
        dom.el("span", { class: "hint" }, "arrow keys move, open and close; + − 0 zoom; a and d move in time"));
    }

    const names = () => (scroller.clientWidth < 620 ? 150 : Math.min(360, Math.round(scroller.clientWidth * 0.3)));

    function zoom(factor, around) {
      const middle = around === undefined ? (left + right) / 2 : around;
      const span = Math.max(10, Math.min(whole[1] - whole[0], (right - left) * factor));
      left = Math.max(whole[0], Math.min(whole[1] - span, middle - (middle - left) * (span / (right - left))));
      right = left + span;
      draw();
    }

    function move(fraction) {
      const by = Math.max(whole[0] - left, Math.min(whole[1] - right, fraction * (right - left)));
      left += by;
      right += by;
      draw();
    }

    const draw = dom.onFrame(() => {
      const total = tree.size() * ROW;
      // As high as it needs to be, up to what the style sheet allows.
      scroller.style.setProperty("height", `${total + 8}px`);
      const height = scroller.clientHeight || 300;
      const offset = names();
      const width = Math.max(40, scroller.clientWidth - offset - 14);
      body.style.setProperty("height", `${total}px`);
      scroller.style.setProperty("--names", `${offset}px`);
      scroller.setAttribute("aria-rowcount", String(tree.size()));
      const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - 1);
      const last = Math.min(tree.size() - 1, Math.ceil((scroller.scrollTop + height) / ROW) + 1);
      const lines = [];
      for (let at = first; at <= last; at += 1) lines.push(line(at));
      dom.fill(body, lines);
      if (current >= first && current <= last) scroller.setAttribute("aria-activedescendant", `${id}-${current}`);
      else scroller.removeAttribute("aria-activedescendant");
      bars.style.setProperty("left", `${offset}px`);
      const view = {
        tree, tasks, list, path, known: resolved(), first, last, from: left, to: right, row: ROW, width,
        x: (time) => Math.max(-9, Math.min(width + 9, ((time - left) / (right - left)) * width)),
        y: (at) => at * ROW - scroller.scrollTop,
      };
      const step = format.step(right - left, width / 90);
      const c = dom.context(bars, width + 10, height);
      gridlines(c, view, step, height);
      for (let at = first; at <= last; at += 1) bar(c, view, at);
      if (path) edges.drawPath(c, view);
      edges.drawSpawns(c, view);
      if (wakesShown) edges.drawWakes(c, view);
      drawAxis(view, step, offset);
    });

    function gridlines(c, view, step, height) {
      c.fillStyle = dom.colours().faint;
      for (let t = Math.ceil((left - from) / step) * step; t <= right - from; t += step) {
        c.fillRect(Math.round(view.x(from + t)), 0, 1, height);
      }
    }

    function drawAxis(view, step, offset) {
      const c = dom.context(axis, offset + view.width + 10, 20);
      const colours = dom.colours();
      c.fillStyle = colours.muted;
      c.fillText("since its begin", 8, 10);
      for (let t = Math.ceil((left - from) / step) * step; t <= right - from; t += step) {
        const text = format.moment(t, step);
        const x = offset + view.x(from + t);
        c.fillRect(x, 15, 1, 5);
        c.fillText(text, Math.min(x, offset + view.width - c.measureText(text).width), 8);
      }
    }

    function bar(c, view, at) {
      const [kind, item] = [tree.view.kind[at], tree.view.item[at]];
      const [start, end] = rows.time(kind, item);
      const colours = dom.colours();
      const top = view.y(at) + 4;
      if (kind === rows.AWAIT) {
        const up = tree.parent(at);
        const x = view.x(start);
        if (up >= 0 && start >= left && start <= right) {
          c.fillStyle = colours.line;
          c.fillRect(Math.round(x), view.y(Math.max(up, view.first - 1)) + 18, 1, (at - Math.max(up, view.first - 1)) * ROW - 14);
        }
        if (end < left || start > right) return;
        const leaf = model.children.of(item).length === 0;
        const width = Math.max(1.5, view.x(end) - x);
        c.fillStyle = model.awaits.ended[item] === 3 || model.awaits.ended[item] === 4 ? colours.bad : leaf ? colours.leaf : colours.inner;
        c.fillRect(x, top, width, 11);
        // What has no known begin or end fades out there.
        if (model.isOpen(item)) ragged(c, x + width, top, colours.bg, -1);
        if (model.awaits.at_least[item]) ragged(c, x, top, colours.bg, 1);
        const text = model.awaitDuration(item);
        const room = view.width - (x + width);
        c.fillStyle = colours.fg;
        if (room > c.measureText(text).width + 6) c.fillText(text, x + width + 5, top + 6);
      } else if (kind === rows.POLL) {
        if (end < left || start > right) return;
        c.fillStyle = colours.polled;
        c.fillRect(view.x(start), top, Math.max(1.5, view.x(end) - view.x(start)), 11);
      } else {
        if (end < left || start > right) return;
        c.fillStyle = colours.line;
        c.fillRect(view.x(start), top + 5, Math.max(1, view.x(end) - view.x(start)), 1);
        slices(c, view, item, top);
      }
    }

    function ragged(c, x, top, colour, way) {
      c.fillStyle = colour;
      for (let n = 0; n < 3; n += 1) c.fillRect(x + way * (2 + 4 * n) - 1, top, 2, 11);
    }

    // The polls of a task as slices in its row; those within one pixel are one.
    function slices(c, view, task, top) {
      const polls = model.pollsOf.of(task);
      c.fillStyle = dom.colours().polled;
      let drawn = -1;
      for (let at = Math.max(0, model.lowerBound(polls, model.polls.begin, left) - 1); at < polls.length; at += 1) {
        const p = polls[at];
        if (model.polls.begin[p] > right) break;
        const end = view.x(model.pollEnd(p));
        if (end <= drawn) continue;
        const x = Math.max(view.x(model.polls.begin[p]), drawn);
        const width = Math.max(1, end - x);
        c.fillRect(x, top, width, 11);
        drawn = x + width;
      }
    }

    function line(at) {
      const [kind, item, depth, open] = [tree.view.kind[at], tree.view.item[at], tree.view.depth[at], tree.view.open[at]];
      const name = rows.name(kind, item);
      const mark = open < 0 ? "" : open ? "▾" : "▸";
      const length = kind === rows.AWAIT ? model.awaitDuration(item) : "";
      const where = kind === rows.AWAIT ? model.placeWhere(model.awaits.place[item]) : "";
      return dom.el("div", {
        class: `row ${["task", "await", "polls", "poll"][kind]}${at === current ? " current" : ""}`, role: "row", id: `${id}-${at}`,
        "data-at": at, "aria-level": depth + 1, "aria-rowindex": at + 1, "aria-selected": at === current ? "true" : "false",
        "aria-expanded": open < 0 ? undefined : open ? "true" : "false",
        style: { top: `${at * ROW}px` },
      }, dom.el("div", {
        class: "name", role: "gridcell", title: kind === rows.AWAIT ? `${model.placeFull(model.awaits.place[item])}\n${model.placeWhere(model.awaits.place[item], true)}` : name,
        "aria-label": [name, where, length].filter(Boolean).join(", "), style: { "padding-left": `${6 + Math.min(depth, 14) * 12}px` },
      }, dom.el("span", { class: "mark", "aria-hidden": "true" }, mark), name, where ? dom.el("small", {}, ` ${where}`) : null));
    }

    function choose(at, reveal) {
      current = Math.max(0, Math.min(tree.size() - 1, at));
      const top = current * ROW;
      if (reveal && top < scroller.scrollTop) scroller.scrollTop = top;
      else if (reveal && top > scroller.scrollTop + scroller.clientHeight - ROW) scroller.scrollTop = top - scroller.clientHeight + ROW;
      draw();
      if (chosen) chosen(tree.view.kind[current], tree.view.item[current]);
    }

    function click(event) {
      const row = event.target.closest(".row");
      if (!row || dragged) return;
      const at = Number(row.dataset.at);
      if (event.target.closest(".mark")) {
        tree.toggle(at);
        current = at;
        draw();
      } else choose(at, false);
    }

    function key(event) {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const page = Math.max(1, Math.floor(scroller.clientHeight / ROW) - 1);
      const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
      const open = current >= 0 ? tree.view.open[current] : -1;
      if (event.key in steps) choose(current < 0 ? 0 : current + steps[event.key], true);
      else if (event.key === "ArrowRight" && open === 0) { tree.toggle(current); draw(); }
      else if (event.key === "ArrowRight" && current >= 0) choose(current + 1, true);
      else if (event.key === "ArrowLeft" && open === 1) { tree.toggle(current); draw(); }
      else if (event.key === "ArrowLeft" && current >= 0) choose(tree.parent(current), true);
      else if (event.key === "+" || event.key === "=") zoom(0.5);
      else if (event.key === "-") zoom(2);
      else if (event.key === "0") { [left, right] = whole; draw(); }
      else if (event.key === "a") move(-0.25);
      else if (event.key === "d") move(0.25);
      else return;
      event.preventDefault();
    }

    function wheel(event) {
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        if (right - left >= whole[1] - whole[0]) return;
        move((event.deltaX || event.deltaY) / 800);
      } else if (event.ctrlKey) {
        const box = bars.getBoundingClientRect();
        zoom(event.deltaY > 0 ? 1.25 : 0.8, left + ((event.clientX - box.left) / Math.max(1, box.width)) * (right - left));
      } else return;
      event.preventDefault();
    }

    let dragged = false;
    function dragToMove() {
      let from_x = null;
      scroller.addEventListener("pointerdown", (event) => {
        dragged = false;
        if (event.clientX - scroller.getBoundingClientRect().left > names() && event.button === 0) from_x = event.clientX;
      });
      scroller.addEventListener("pointermove", (event) => {
        if (from_x === null || event.buttons === 0) { from_x = null; return; }
        if (Math.abs(event.clientX - from_x) < 4 && !dragged) return;
        dragged = true;
        move((from_x - event.clientX) / Math.max(1, bars.clientWidth));
        from_x = event.clientX;
      });
      scroller.addEventListener("pointerup", () => { from_x = null; });
    }

    dom.whenResized(scroller, draw);
    return {
      node,
      draw,
      // Shows a time span, with some room around it.
      look(start, end) {
        const room = Math.max(10, (end - start) * 0.1);
        [left, right] = [Math.max(whole[0], start - room), Math.min(whole[1], end + room)];
        if (right - left < 10) [left, right] = whole;
        draw();
      },
      // Chooses the row of an await or task.
      choose(kind, item) {
        const at = tree.place(kind, item);
        if (at >= 0) choose(at, true);
        return at >= 0;
      },
    };
  }

  return { make };
})();
