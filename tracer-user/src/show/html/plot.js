// The two small pictures above the list of requests: a histogram of durations, and when they were.
// In both a span can be chosen, with the mouse or the arrow keys.
"use strict";

const plot = (() => {
  const FOOT = 16;

  // Lets the user choose a part of the width of a canvas: fractions from 0 to 1, or null for all.
  function choosable(canvas, steps, chosen) {
    let range = null;
    let from = null;
    const set = (next) => {
      range = next;
      chosen(range);
    };
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return Math.max(0, Math.min(1, (event.clientX - box.left) / Math.max(1, box.width)));
    };
    const snap = (a, b) => [Math.floor(Math.min(a, b) * steps) / steps, Math.max(Math.ceil(Math.max(a, b) * steps), 1) / steps];
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      from = at(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (from !== null && Math.abs(at(event) - from) > 0.004) set(snap(from, at(event)));
    });
    canvas.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const to = at(event);
      // A click chooses one step, and once more lets go of it.
      if (Math.abs(to - from) <= 0.004) {
        const one = snap(to, to + 1e-9);
        set(range && range[0] === one[0] && range[1] === one[1] ? null : one);
      }
      from = null;
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") set(null);
      else if (step && event.shiftKey && range) set([range[0], Math.max(range[0] + 1 / steps, Math.min(1, range[1] + step / steps))]);
      else if (step) {
        const low = range ? Math.max(0, Math.min(1 - 1 / steps, range[0] + step / steps)) : step > 0 ? 0 : 1 - 1 / steps;
        set([low, low + 1 / steps]);
      } else return;
      event.preventDefault();
    });
    return { range: () => range, clear: () => { range = null; } };
  }

  function shade(c, range, width, height) {
    if (!range) return;
    c.fillStyle = dom.colours().select;
    c.fillRect(range[0] * width, 0, Math.max(1, (range[1] - range[0]) * width), height);
  }

  // A histogram of durations with bins of equal ratio. `chosen(low, high)` in nanoseconds.
  function histogram(chosen) {
    const BINS = 60;
    const canvas = dom.el("canvas", { class: "plot", tabindex: "0", role: "img" });
    let bins = new Uint32Array(BINS);
    let [low, high] = [0, 1];
    const value = (fraction) => 10 ** (low + fraction * (high - low));
    const choice = choosable(canvas, BINS, (range) => {
      draw();
      // The ends take all there is beyond them.
      if (range) chosen(range[0] <= 0 ? 0 : value(range[0]), range[1] >= 1 ? Infinity : value(range[1]));
      else chosen(0, Infinity);
    });
    const draw = dom.onFrame(() => {
      const [width, height] = [canvas.parentElement ? canvas.parentElement.clientWidth : 300, 72];
      const c = dom.context(canvas, width, height);
      const colours = dom.colours();
      shade(c, choice.range(), width, height - FOOT);
      const most = bins.reduce((a, b) => Math.max(a, b), 1);
      c.fillStyle = colours.waiting;
      bins.forEach((n, at) => {
        // A single slow request among thousands must still be seen.
        const tall = n === 0 ? 0 : Math.max(2, ((height - FOOT - 4) * n) / most);
        c.fillRect((at * width) / BINS + 0.5, height - FOOT - tall, width / BINS - 1, tall);
      });
      c.strokeStyle = colours.line;
      c.beginPath();
      c.moveTo(0, height - FOOT + 0.5);
      c.lineTo(width, height - FOOT + 0.5);
      c.stroke();
      c.fillStyle = colours.muted;
      const marks = [];
      for (let p = Math.ceil(low); p <= high + 1e-9; p += 1) marks.push(p);
      const every = Math.max(1, Math.ceil((marks.length * 52) / width));
      marks.filter((_, at) => at % every === 0).forEach((p) => {
        const x = ((p - low) / (high - low)) * width;
        c.fillRect(x, height - FOOT, 1, 4);
        const text = format.duration(10 ** p);
        const w = c.measureText(text).width;
        c.fillText(text, Math.max(0, Math.min(width - w, x - w / 2)), height - 6);
      });
    });
    dom.whenResized(canvas, draw);
    function set(lengths) {
      let [min, max] = [Infinity, 1];
      for (const length of lengths) {
        if (length > 0 && length < min) min = length;
        if (length > max) max = length;
      }
      if (min === Infinity) min = 1;
      low = Math.floor(Math.log10(min) * 3) / 3;
      high = Math.max(low + 1, Math.ceil(Math.log10(max * 1.0001) * 3) / 3);
      bins = new Uint32Array(BINS);
      for (const length of lengths) {
        const at = ((Math.log10(Math.max(length, 1)) - low) / (high - low)) * BINS;
        bins[Math.max(0, Math.min(BINS - 1, Math.floor(at)))] += 1;
      }
      canvas.setAttribute("aria-label", `Histogram of ${format.plural(lengths.length, "duration")} from ${format.duration(min)} to ${format.duration(max)}; arrow keys choose a part, Escape lets go of it`);
      draw();
    }
    return { node: canvas, set, clear: () => { choice.clear(); draw(); } };
  }

  // Each thing a dot: when it began, how long it took. `chosen(from, to)` in nanoseconds.
  function strip(span, chosen) {
    const STEPS = 120;
    const canvas = dom.el("canvas", { class: "plot", tabindex: "0", role: "img" });
    let dots = { starts: [], lengths: [], bad: () => false };
    const choice = choosable(canvas, STEPS, (range) => {
      draw();
      if (range) chosen(range[0] <= 0 ? -Infinity : range[0] * span, range[1] >= 1 ? Infinity : range[1] * span);
      else chosen(-Infinity, Infinity);
    });
    const draw = dom.onFrame(() => {
      const [width, height] = [canvas.parentElement ? canvas.parentElement.clientWidth : 300, 72];
      const c = dom.context(canvas, width, height);
      const colours = dom.colours();
      shade(c, choice.range(), width, height - FOOT);
      let [low, high] = [Infinity, -Infinity];
      for (const length of dots.lengths) {
        const size = Math.log10(Math.max(length, 1));
        if (size < low) low = size;
        if (size > high) high = size;
      }
      const room = height - FOOT - 6;
      // One dot a pixel: a hundred thousand of them cost no more than the pixels there are.
      const seen = new Uint8Array(Math.ceil(width + 1) * (height + 1));
      for (let at = 0; at < dots.starts.length; at += 1) {
        const x = Math.floor((Math.max(0, dots.starts[at]) / Math.max(1, span)) * (width - 2));
        const size = Math.log10(Math.max(dots.lengths[at], 1));
        const y = Math.floor(2 + room - (high > low ? ((size - low) / (high - low)) * room : room / 2));
        const bad = dots.bad(at);
        const cell = x * (height + 1) + y;
        if (seen[cell] >= (bad ? 2 : 1)) continue;
        seen[cell] = bad ? 2 : 1;
        c.fillStyle = bad ? colours.bad : colours.waiting;
        c.fillRect(x, y, 2, 2);
      }
      c.fillStyle = colours.muted;
      const step = format.step(span, width / 90);
      for (let t = 0; t <= span && step > 0; t += step) {
        const x = (t / Math.max(1, span)) * (width - 2);
        c.fillRect(x, height - FOOT, 1, 4);
        const text = format.moment(t, step);
        const w = c.measureText(text).width;
        c.fillText(text, Math.max(0, Math.min(width - w, x - w / 2)), height - 6);
      }
      c.fillStyle = colours.line;
      c.fillRect(0, height - FOOT, width, 1);
    });
    dom.whenResized(canvas, draw);
    function set(next) {
      dots = next;
      canvas.setAttribute("aria-label", `${format.plural(dots.starts.length, "dot")} by start and duration; arrow keys choose a part, Escape lets go of it`);
      draw();
    }
    return { node: canvas, set, clear: () => { choice.clear(); draw(); } };
  }

  return { histogram, strip };
})();
