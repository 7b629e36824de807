// What is wrong in the recording, with evidence.
"use strict";

const findings = (() => {
  function one(told) {
    const times = told.times ? ` (${told.times})` : "";
    const head = dom.el("h3", {}, dom.el("span", { class: told.certainty === "possible" ? "" : "mark-bad" }, told.certainty),
      ` ${told.kind}${times}`);
    const rows = told.rows.map(([name, text]) => dom.el("div", {}, dom.el("dt", {}, name), dom.el("dd", {}, text)));
    return dom.el("article", { class: "finding" }, head, dom.el("p", { class: "answer" }, told.summary),
      dom.el("dl", { class: "facts one" }, rows));
  }

  function make() {
    const { told, told_left_out } = model.head;
    const none = dom.el("p", { class: "empty" }, "No findings in this recording.",
      dom.el("br", {}), "asynctrace check tells what it looked at, and what could not be judged.");
    const more = told_left_out > 0 ? dom.el("p", { class: "warning" }, `${format.plural(told_left_out, "finding")} more than this page holds`) : null;
    return { node: dom.el("section", { class: "page" }, told.length > 0 ? told.map(one) : none, more) };
  }

  return { make };
})();
