// From the page's data (JSON, deflated, in base64) to tables of numbers.
"use strict";

const data = (() => {
  // Columns that hold differences to the row before.
  const DIFFERENCES = {
    awaits: ["start"], polls: ["begin"], wakes: ["time"], requests: ["start"], pieces: ["from"],
  };
  const TABLES = ["places", "units", "awaits", "polls", "wakes", "requests", "pieces", "profile", "flame"];

  async function load() {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser cannot inflate data (DecompressionStream): Chrome or Edge 80, Firefox 113, Safari 16.4 or later can");
    }
    const element = document.getElementById("data");
    const text = atob(element.textContent);
    // Megabytes that nothing needs any more.
    element.remove();
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const all = JSON.parse(await new Response(stream).text());
    for (const name of TABLES) all[name] = table(all[name], DIFFERENCES[name] || []);
    return all;
  }

  function table(columns, differences) {
    const numbers = { length: 0 };
    for (const [name, values] of Object.entries(columns)) {
      if (!Array.isArray(values)) {
        numbers[name] = values;
        continue;
      }
      const column = Float64Array.from(values);
      if (differences.includes(name)) {
        for (let at = 1; at < column.length; at += 1) column[at] += column[at - 1];
      }
      numbers[name] = column;
    }
    return numbers;
  }

  return { load };
})();
