// A table of any length: only the rows in sight are elements. Sorted by its columns, walked with
// the keyboard.
"use strict";

const list = (() => {
  const ROW = 26;
  let made = 0;

  // `columns`: { title, width, narrow (kept on narrow windows), number, key(row) to sort by,
  // fill(cell, row) or text(row), tip(row) }. `open(row)` is called for a click or Enter.
  function make({ label, columns, open, empty, sort, ascending }) {
    const id = `list${(made += 1)}`;
    let rows = new Int32Array(0);
    let order = rows;
    let current = -1;
    let by = sort;
    let up = ascending === true;
    const head = dom.el("div", { class: "list-head", role: "row" });
    const body = dom.el("div", { class: "list-body", role: "rowgroup" });
    const node = dom.el("div", {
      class: "list", role: "grid", tabindex: "0", "aria-label": label, "aria-readonly": "true",
      on: { scroll: () => draw(), keydown: key, click },
    }, dom.el("div", { role: "rowgroup", class: "list-top" }, head), body);
    const narrow = window.matchMedia("(max-width: 760px)");
    const shown = () => columns.filter((column) => !narrow.matches || column.narrow);

    function heads() {
      dom.fill(head, shown().map((column) => {
        const sorted = by === column.title;
        const cell = dom.el("div", {
          role: "columnheader", class: column.number ? "number" : "",
          "aria-sort": sorted ? (up ? "ascending" : "descending") : column.key ? "none" : undefined,
        });
        if (!column.key) return dom.add(cell, [column.title]);
        return dom.add(cell, [dom.button(column.title, () => sortBy(column.title), { title: column.hint })]);
      }));
      const template = shown().map((column) => column.width).join(" ");
      node.style.setProperty("--columns", template);
      // Head and rows share one least width, so that they stay in line when it is scrolled sideways.
      const least = shown().reduce((sum, column) => sum + Number(/[0-9]+/.exec(column.width)[0]) + 10, 10);
      node.style.setProperty("--least", `${least}px`);
    }

    function sortBy(title) {
      // Numbers are wanted from the greatest on, names from A.
      up = by === title ? !up : !columns.find((column) => column.title === title).number;
      by = title;
      arrange();
    }

    function arrange() {
      const column = columns.find((c) => c.title === by);
      const kept = current >= 0 ? order[current] : -1;
      order = rows;
      if (column && column.key) {
        const keys = new Map();
        for (const row of rows) keys.set(row, column.key(row));
        const sign = up ? 1 : -1;
        order = Array.from(rows).sort((a, b) => {
          const [x, y] = [keys.get(a), keys.get(b)];
          return (x < y ? -sign : x > y ? sign : 0) || a - b;
        });
      }
      current = kept >= 0 ? order.indexOf(kept) : -1;
      heads();
      draw();
    }

    const draw = dom.onFrame(() => {
      const height = node.clientHeight || 400;
      const first = Math.max(0, Math.floor(node.scrollTop / ROW) - 4);
      const last = Math.min(order.length, Math.ceil((node.scrollTop + height) / ROW) + 4);
      body.style.setProperty("height", `${Math.max(1, order.length) * ROW}px`);
      node.setAttribute("aria-rowcount", String(order.length + 1));
      const cells = [];
      for (let at = first; at < last; at += 1) cells.push(line(at));
      if (order.length === 0) cells.push(dom.el("div", { class: "empty" }, empty || "nothing"));
      dom.fill(body, cells);
      if (current >= first && current < last) node.setAttribute("aria-activedescendant", `${id}-${current}`);
      else node.removeAttribute("aria-activedescendant");
    });

    function line(at) {
      const row = order[at];
      const cells = shown().map((column) => {
        const cell = dom.el("div", { role: "gridcell", class: column.number ? "number" : "", title: column.tip ? column.tip(row) : undefined });
        if (column.fill) column.fill(cell, row);
        else cell.textContent = column.text(row);
        return cell;
      });
      return dom.el("div", {
        class: at === current ? "row current" : "row", role: "row", id: `${id}-${at}`, "data-at": at,
        "aria-rowindex": at + 2, "aria-selected": at === current ? "true" : "false",
        style: { top: `${at * ROW}px` },
      }, cells);
    }

    function click(event) {
      const row = event.target.closest(".row");
      if (!row || event.target.closest("a")) return;
      current = Number(row.dataset.at);
      draw();
      if (open) open(order[current]);
    }

    function key(event) {
      if (event.target !== node || event.ctrlKey || event.altKey || event.metaKey) return;
      const page = Math.max(1, Math.floor(node.clientHeight / ROW) - 2);
      const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
      if (event.key in steps) {
        const next = current < 0 ? (steps[event.key] > 0 ? 0 : order.length - 1) : current + steps[event.key];
        current = Math.max(0, Math.min(order.length - 1, next));
        reveal();
      } else if (event.key === "Enter" && current >= 0 && open) open(order[current]);
      else return;
      event.preventDefault();
    }

    function reveal() {
      const top = current * ROW;
      const room = node.clientHeight - 2 * ROW;
      if (top < node.scrollTop) node.scrollTop = top;
      else if (top > node.scrollTop + room) node.scrollTop = top - room;
      draw();
    }

    narrow.addEventListener("change", () => { heads(); draw(); });
    new ResizeObserver(draw).observe(node);
    heads();
    return {
      node,
      // Shows these rows.
      set(next) {
        rows = next;
        node.scrollTop = 0;
        arrange();
      },
      // Marks a row without opening it.
      select(row) {
        current = order.indexOf(row);
        if (current >= 0) reveal();
      },
      // The row `step` places from this one in the present order; undefined beyond the ends.
      beside: (row, step) => order[order.indexOf(row) + step],
      place: (row) => order.indexOf(row),
      size: () => order.length,
      draw,
    };
  }

  return { make };
})();
