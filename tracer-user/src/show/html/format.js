// Numbers, times and names as a person reads them.
"use strict";

const format = (() => {
  const UNITS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];

  // A duration in nanoseconds, with three significant digits: `1.23 ms`.
  function duration(ns) {
    if (!(ns >= 0)) return "not known";
    if (ns === 0) return "0";
    if (ns >= 60e9) {
      const s = Math.round(ns / 1e9);
      const [h, m] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
      return h > 0 ? `${h} h ${m} min` : `${m} min ${s % 60} s`;
    }
    for (const [unit, size] of UNITS) {
      // 999.6 µs is 1.00 ms: decide after rounding.
      if (ns >= size * 0.9995 || size === 1) return `${digits(ns / size)} ${unit}`;
    }
    return `${ns} ns`;
  }

  function digits(value) {
    if (value >= 99.95 || Number.isInteger(value)) return String(Math.round(value));
    return value.toFixed(value >= 9.995 ? 1 : 2);
  }

  // What a person types for a duration (`10ms`, `1.5 s`, `200us`), in nanoseconds; null otherwise.
  function parse(text) {
    const found = /^\s*>?\s*([0-9]*\.?[0-9]+)\s*(ns|us|µs|μs|ms|s|m|min)?\s*$/i.exec(text);
    if (!found) return null;
    const sizes = { ns: 1, us: 1e3, "µs": 1e3, "μs": 1e3, ms: 1e6, s: 1e9, m: 60e9, min: 60e9 };
    return Number(found[1]) * sizes[(found[2] || "ms").toLowerCase()];
  }

  function count(n) {
    return n.toLocaleString("en-US");
  }

  function plural(n, one, many) {
    return `${count(n)} ${n === 1 ? one : many || one + "s"}`;
  }

  function percent(part, whole) {
    if (!(whole > 0)) return "";
    const p = (100 * part) / whole;
    return p > 0 && p < 0.1 ? "< 0.1 %" : `${p >= 10 ? Math.round(p) : p.toFixed(1)} %`;
  }

  function bytes(n) {
    if (n < 1024) return `${n} bytes`;
    const units = ["KiB", "MiB", "GiB", "TiB"];
    let at = -1;
    while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
    return `${n.toFixed(1)} ${units[at]}`;
  }

  // A moment since the begin of the trace, as fine as `step` (nanoseconds) asks for.
  function moment(ns, step) {
    const sign = ns < 0 ? "-" : "";
    const size = Math.abs(ns);
    if (step === undefined) return `${sign}${(size / 1e9).toFixed(size < 100e9 ? 6 : 3)} s`;
    if (size === 0) return "0";
    const [unit, scale] = UNITS.find(([, s]) => Math.max(size, step) >= s) || UNITS[3];
    const places = Math.max(0, Math.min(9, Math.ceil(-Math.log10(step / scale) - 1e-9)));
    return `${sign}${(size / scale).toFixed(places)} ${unit}`;
  }

  // Wall-clock time of microseconds since 1970.
  function clock(us) {
    if (!Number.isFinite(us)) return "";
    const date = new Date(us / 1000);
    if (Number.isNaN(date.getTime())) return "";
    return date.toISOString().replace("T", " ").replace("Z", " UTC");
  }

  // A round step so that about `wanted` of them make up `span`.
  function step(span, wanted) {
    const rough = span / Math.max(1, wanted);
    const base = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((f) => f * base).find((s) => s >= rough) || rough;
  }

  // The end of a path: `handle`, `handle::{async_block#0}`; generic arguments are left as `<…>`.
  const short_names = new Map();
  function short(path) {
    let known = short_names.get(path);
    if (known === undefined) {
      known = shorten(path);
      short_names.set(path, known);
    }
    return known;
  }

  function shorten(path) {
    const parts = [];
    let depth = 0;
    let part = "";
    for (let at = 0; at < path.length; at += 1) {
      const c = path[at];
      if ("<([".includes(c)) {
        if (depth === 0) part += c + "…";
        depth += 1;
      } else if (")]".includes(c) || (c === ">" && path[at - 1] !== "-")) {
        depth = Math.max(0, depth - 1);
        if (depth === 0) part += c;
      } else if (depth === 0 && c === ":" && path[at + 1] === ":") {
        parts.push(part);
        part = "";
        at += 1;
      } else if (depth === 0) part += c;
    }
    parts.push(part);
    // Brackets that do not match: no name of Rust's, and no part of it is safe to leave out.
    if (depth > 0) return path;
    // `{async_block#0}` and `<…>` alone say nothing.
    let from = parts.length - 1;
    while (from > 0 && /^[{<]/.test(parts[from])) from -= 1;
    return parts.slice(from).join("::") || path;
  }

  // The end of a file name: its folder and itself.
  function file(path) {
    return path.split("/").slice(-2).join("/");
  }

  return { duration, parse, count, plural, percent, bytes, moment, clock, step, short, file };
})();
