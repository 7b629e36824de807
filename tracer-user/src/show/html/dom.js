// Making elements. Text is only ever set as text: names come from the traced program and may hold
// anything. The page's policy has no way from a string to markup, so a slip would throw, not run.
"use strict";

const dom = (() => {
  // An element. `props`: `class`, `on` (listeners), `style` (properties), ARIA and other attributes.
  function el(tag, props, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name === "class") node.className = value;
      else if (name === "on") for (const [type, f] of Object.entries(value)) node.addEventListener(type, f);
      else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
      else if (value === true) node.setAttribute(name, "");
      else node.setAttribute(name, String(value));
    }
    add(node, children);
    return node;
  }

  function add(node, children) {
    for (const child of children) {
      if (child === undefined || child === null || child === false) continue;
      if (Array.isArray(child)) add(node, child);
      else node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
  }

  // Replaces what is in `node`.
  function fill(node, ...children) {
    node.replaceChildren();
    return add(node, children);
  }

  // Runs `draw` once before the next frame, however often it is asked for.
  function onFrame(draw) {
    let asked = false;
    return () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        draw();
      });
    };
  }

  // Makes a canvas as sharp as the screen and returns its context in CSS pixels.
  function context(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    const w = Math.max(1, Math.round(width * ratio));
    const h = Math.max(1, Math.round(height * ratio));
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
      canvas.style.setProperty("width", `${width}px`);
      canvas.style.setProperty("height", `${height}px`);
    }
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = "11px " + FONT;
    c.textBaseline = "middle";
    return c;
  }

  const FONT = "system-ui, sans-serif";

  // Colours for canvases: those of the style sheet, so that light and dark are decided there.
  let known = null;
  function colours() {
    if (known) return known;
    const style = getComputedStyle(document.documentElement);
    const names = ["bg", "fg", "muted", "line", "faint", "accent", "polled", "blocked", "preempted",
      "scheduled", "waiting", "unknown", "leaf", "inner", "bad", "path", "wake", "select"];
    known = {};
    for (const name of names) known[name] = style.getPropertyValue(`--${name}`).trim();
    return known;
  }

  const redraws = new Set();
  function redraw() {
    known = null;
    for (const draw of redraws) draw();
  }
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  // Calls `draw` when the size of `node` or the colours change.
  function whenResized(node, draw) {
    redraws.add(draw);
    new ResizeObserver(draw).observe(node);
  }

  function button(text, action, props) {
    return el("button", { type: "button", on: { click: action }, ...props }, text);
  }

  return { el, add, fill, onFrame, context, colours, whenResized, button };
})();
