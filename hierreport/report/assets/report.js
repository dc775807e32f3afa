"use strict";
// Sorting, filtering, finding a group and full values on demand. The page reads fully without this.
(() => {
  const value = (cell) => {
    const data = cell && cell.querySelector("data");
    return data ? Number(data.value) : cell ? cell.textContent.trim() : "";
  };
  const compare = (a, b) => {
    const x = typeof a === "number", y = typeof b === "number";
    if (x && y) return a - b;
    if (x !== y) return x ? -1 : 1;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  const sortBy = (table, index, header) => {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row.cells[index]), row]);
    rows.sort((a, b) => {
      if (a[0] === "" || b[0] === "") return (a[0] === "") - (b[0] === ""); // blanks last, both ways
      return down ? compare(b[0], a[0]) : compare(a[0], b[0]);
    });
    for (const row of body.rows) row.classList.remove("cut");
    body.append(...rows.map((r) => r[1]));
  };
  for (const table of document.querySelectorAll("table[data-name]")) {
    const rows = table.tBodies[0].rows.length, full = document.createElement("button");
    full.type = "button";
    full.textContent = "Full values";
    full.setAttribute("aria-pressed", "false");
    full.addEventListener("click", () => {
      const on = full.getAttribute("aria-pressed") === "false";
      full.setAttribute("aria-pressed", on);
      for (const data of table.querySelectorAll("data")) {
        data.short ??= data.textContent;
        data.textContent = on ? data.value : data.short;
      }
    });
    if (table.querySelector("tbody data")) table.closest(".table").querySelector(".under").append(" ", full);
    if (rows < 3) continue;
    [...table.tHead.rows[0].cells].forEach((header, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...[...header.childNodes].filter((node) => node.nodeName !== "SMALL"));
      header.prepend(button);
      button.addEventListener("click", () => sortBy(table, index, header));
    });
    if (rows < 20) continue;
    const label = document.createElement("label");
    const input = document.createElement("input");
    const count = document.createElement("span");
    label.className = "filter";
    input.type = "search";
    count.setAttribute("role", "status");
    label.append("Filter ", input, " ", count);
    table.closest(".scroll").before(label);
    input.addEventListener("input", () => {
      const words = input.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLocaleLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${rows} rows` : "";
    });
  }
  // Finding a group: the tables' files, which hold every group, are searched; up to five are marked in the pictures.
  const FOUND = 8, MARKED = 5, SVG = "http://www.w3.org/2000/svg";
  const element = (name, text, ...inside) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    made.append(...inside);
    return made;
  };
  const fileOf = async (table) => {
    const link = document.querySelector(`#table-${table} a[download]`);
    const bytes = Uint8Array.from(atob(link.href.split(",")[1]), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream();
    return new Response(link.download.endsWith(".gz") ? stream.pipeThrough(new DecompressionStream("gzip")) : stream).text();
  };
  const parse = (text) => {
    const rows = [[]];
    for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\n|$)/g)) {
      rows[rows.length - 1].push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
      if (end === "\n") rows.push([]);
      if (!end) break;
    }
    return rows.filter((row) => row.length > 1);
  };
  const finder = (box) => {
    const input = element("input"), count = element("span"), found = element("div");
    input.type = "search";
    input.autocomplete = "off";
    count.setAttribute("role", "status");
    const label = element("label", "", box.dataset.label + " ", input, " ", count);
    label.className = "filter";
    box.append(label, found);
    const short = (text) => {
      const number = text !== "" && Number.isFinite(Number(text)) && !Number.isInteger(Number(text));
      return number ? String(Number(Number(text).toPrecision(3))).replace("-", "\u2212").replace(".", box.dataset.decimal) : text;
    };
    const load = async ([name, shown]) => {
      const [head, ...rows] = parse(await fileOf(name));
      const titles = [...document.querySelectorAll(`#table-${name} thead th`)].map((h) => h.textContent.replace(/[\u2191\u2193\u2195]/, ""));
      const ranks = {};
      const rank = (column) => (ranks[column] ??= new Map(
        [...rows].sort((a, b) => a[column] - b[column]).map((row, i) => [row, i])));
      return { name, shown, head, rows, titles, rank, keys: rows.map((row) => row[0].toLocaleLowerCase()) };
    };
    let tables;
    const mark = (hits) => {
      for (const old of document.querySelectorAll(".found")) old.remove();
      if (hits.length > MARKED) return;
      for (const svg of document.querySelectorAll("svg[data-marks]")) {
        const [name, ...axes] = JSON.parse(svg.dataset.marks);
        for (const [table, row] of hits) {
          if (table.name !== name) continue;
          const [x, y] = axes.map(([kind, key, start, unit]) => {
            const column = table.head.indexOf(key);
            return start + unit * (kind === "rank" ? table.rank(column).get(row) : Number(row[column]));
          });
          const group = document.createElementNS(SVG, "g"), dot = document.createElementNS(SVG, "circle");
          const text = document.createElementNS(SVG, "text"), right = x > svg.viewBox.baseVal.width * 0.6;
          group.setAttribute("class", "found");
          for (const [key, value] of Object.entries({ cx: x, cy: y, r: 6 })) dot.setAttribute(key, value);
          text.setAttribute("x", x + (right ? -10 : 10));
          text.setAttribute("y", y + 4);
          text.setAttribute("text-anchor", right ? "end" : "start");
          text.textContent = row[0].length > 24 ? row[0].slice(0, 23) + "\u2026" : row[0];
          group.append(dot, text);
          svg.append(group);
        }
      }
    };
    const show = async () => {
      tables ??= Promise.all(Object.entries(JSON.parse(box.dataset.tables)).map(load));
      const all = await tables;
      const words = input.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
      const hits = words.length ? all.flatMap((table) => table.rows
        .filter((_, i) => words.every((word) => table.keys[i].includes(word)))
        .map((row) => [table, row])) : [];
      const exact = words.join(" ");  // the group of just this name comes first
      hits.sort((a, b) => (b[1][0].toLocaleLowerCase() === exact) - (a[1][0].toLocaleLowerCase() === exact));
      found.replaceChildren();
      for (const table of all) {
        const mine = hits.slice(0, FOUND).filter((hit) => hit[0] === table);
        if (!mine.length) continue;
        const head = element("tr", "", ...table.titles.map((title) => element("th", title)));
        for (const cell of head.cells) cell.scope = "col";
        const body = mine.map(([, row]) => element("tr", "", ...table.shown.map((k, i) => {
          const cell = row[k], made = element(i ? "td" : "th", "", i ? short(cell) : element("bdi", cell));
          if (!i) made.scope = "row";
          else made.title = cell;
          return made;
        })));
        const scroll = element("div", "", element("table", "", element("thead", "", head), element("tbody", "", ...body)));
        scroll.className = "scroll";
        scroll.tabIndex = 0;
        scroll.setAttribute("role", "region");
        scroll.setAttribute("aria-label", `${box.dataset.label}: found`);
        found.append(scroll);
      }
      count.textContent = !words.length ? "" : hits.length === 1 ? "1 found" : `${hits.length} found` +
        (hits.length > FOUND ? `, ${FOUND} shown` : "");
      mark(hits);
    };
    input.addEventListener("input", show);
  };
  for (const box of document.querySelectorAll(".finder")) if (window.DecompressionStream) finder(box);
  document.addEventListener("mouseover", (event) => {
    const data = event.target.closest && event.target.closest("data");
    if (!data || data.title) return;
    const source = data.dataset.source || "";
    const file = source.startsWith("#") ? data.closest("table").dataset.file : ""; // a cell of the table's own file
    data.title = data.value + (source && "\n" + file + source);
  });
  // On paper, what is folded is open, and heads are text: Chromium leaves buttons out of heads that it repeats.
  const printed = [];
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    for (const button of document.querySelectorAll("thead button")) {
      const plain = document.createElement("span");
      plain.append(...button.childNodes);
      button.replaceWith(plain);
      printed.push([plain, button]);
    }
  });
  addEventListener("afterprint", () => {
    for (const [plain, button] of printed.splice(0)) {
      button.append(...plain.childNodes);
      plain.replaceWith(button);
    }
  });
})();
