// The page: its head, its tabs, and which view is shown. The address names the view, so that back
// and forward work.
"use strict";

const main = (() => {
  const view = document.getElementById("view");
  const views = new Map();
  let shown = "";

  // Wall-clock time of a moment of the trace.
  const clock = (ns) => (model.head && model.head.started_unix_us ? format.clock(model.head.started_unix_us + ns / 1000) : "");

  const by_id = (id) => document.getElementById(id);

  function head() {
    const { head: h, totals, missing } = model;
    document.title = `asynctrace: ${h.exe.split("/").pop()} (${h.pid})`;
    dom.fill(by_id("exe"), h.exe.split("/").pop() || h.exe, dom.el("span", { class: "muted" }, ` pid ${h.pid}`));
    by_id("exe").title = h.exe;
    dom.fill(by_id("when"), `${format.duration(model.span)} recorded`, clock(0) ? ` from ${clock(0)}` : "", h.ended_because ? `; ended: ${h.ended_because}` : "");
    dom.fill(by_id("counts"), `${format.plural(totals.requests, "request")}, ${format.plural(tasksInAll(), "task or thread", "tasks and threads")}, ${format.plural(totals.awaits, "await")}, ${format.plural(totals.polls, "poll")}, ${format.plural(totals.wakes, "wake-up")}; ${format.plural(h.events, "event")}`);
    const warnings = h.warnings.slice();
    const warn = (n, text) => { if (n > 0) warnings.push(`${format.count(n)} ${text}`); };
    warn(missing.suspensions_unknown, "suspensions are not known: where those tasks waited is not told");
    warn(missing.beyond_limits, "polls, awaits or wake-ups are beyond the limits of memory and in no number here");
    const out = model.left_out;
    const parts = [["requests", "requests (the slowest are in)"], ["awaits", "awaits"], ["polls", "polls"], ["wakes", "wake-ups"], ["units", "tasks and threads"], ["paths", "critical paths"]]
      .filter(([name]) => out[name] > 0).map(([name, text]) => `${format.count(out[name])} ${text}`);
    if (parts.length > 0) warnings.push(`to keep this page small it does not hold ${parts.join(", ")}; sums and profiles count everything`);
    const sure = h.told.filter((told) => told.certainty !== "possible").length;
    dom.fill(by_id("tab-findings"), h.told.length > 0 ? `Findings (${h.told.length + h.told_left_out})` : "Findings");
    const found = sure > 0 ? dom.el("p", { class: "warning" }, dom.el("a", { href: "#findings" }, format.plural(sure, "finding")), " proved or likely") : null;
    dom.fill(by_id("notes"), found, warnings.map((text) => dom.el("p", { class: "warning" }, text)),
      h.lossless ? dom.el("p", { class: "muted" }, "nothing was lost") : null, more(h));
  }

  const tasksInAll = () => model.totals.units;

  function more(h) {
    return dom.el("details", {}, dom.el("summary", {}, h.unseen.length > 0 ? `about this recording, and ${format.plural(h.unseen.length, "thing")} that could not be seen` : "about this recording"),
      dom.el("dl", { class: "facts" }, [["executable", h.exe], ["build-id", h.build_id || "none"], ["host", h.host], ["recording", `${h.file}, ${format.bytes(h.bytes)}`], ["made by", h.tool], ["trace", h.trace_id]]
        .map(([name, value]) => dom.el("div", {}, dom.el("dt", {}, name), dom.el("dd", {}, value)))),
      h.unseen.length > 0 ? dom.el("ul", {}, h.unseen.slice(0, 200).map(([what, reason]) => dom.el("li", {}, `not seen: ${what}: ${reason}`)), h.unseen.length > 200 ? dom.el("li", {}, `and ${h.unseen.length - 200} more`) : null) : null);
  }

  const MAKERS = {
    requests: () => requests.make(), tasks: () => tasks.make(), profile: () => profile.make(), findings: () => findings.make(),
    request: (id) => request.make(id), task: (u) => tasks.one(u),
  };

  // Shows what the address names.
  function route() {
    const [, name, number] = /^#?([a-z]*)\/?(\d*)$/.exec(location.hash) || [];
    const wanted = name in MAKERS ? name : model.requestCount > 0 ? "requests" : "profile";
    // The list has the order in which "next" goes.
    if (wanted === "request" && !views.has("requests")) views.set("requests", MAKERS.requests());
    const address = number ? `${wanted}/${number}` : wanted;
    if (address === shown) return;
    shown = address;
    // Lists stay as they were left; one request or task at a time is kept.
    let made = views.get(address);
    if (!made) {
      made = MAKERS[wanted](Number(number));
      if (!number) views.set(address, made);
    }
    const tab = { request: "requests", task: "tasks" }[wanted] || wanted;
    for (const other of document.querySelectorAll("#tabs [role=tab]")) {
      other.setAttribute("aria-selected", other.id === `tab-${tab}` ? "true" : "false");
    }
    view.setAttribute("aria-labelledby", `tab-${tab}`);
    dom.fill(view, made.node);
    if (number) window.scrollTo(0, 0);
    if (made.shown) made.shown();
    if (wanted === "request") requests.select(request.find(Number(number)));
  }

  // j and k go to the next and the one before, / to the filter.
  function keys(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    if (event.key === "j" || event.key === "k") {
      const link = view.querySelector(`[aria-keyshortcuts="${event.key}"][href]`);
      if (link) link.click();
    } else if (event.key === "/") {
      const input = view.querySelector("input[type=search]");
      if (!input) return;
      input.focus();
      event.preventDefault();
    } else if (event.key === "Escape" && shown.startsWith("request/")) location.hash = "#requests";
  }

  async function start() {
    try {
      model.open(await data.load());
      head();
      window.addEventListener("hashchange", route);
      document.addEventListener("keydown", keys);
      route();
      document.documentElement.dataset.state = "ready";
    } catch (error) {
      dom.fill(view, dom.el("p", { class: "warning" }, `This page cannot be shown: ${error.message}`));
      document.documentElement.dataset.state = "failed";
      throw error;
    }
  }

  return { start, clock };
})();

main.start();
