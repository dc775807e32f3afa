"use strict";
// Sorting, filtering and full values on demand. The page reads fully without this.
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
    const rows = table.tBodies[0].rows.length;
    if (rows < 3) continue;
    [...table.tHead.rows[0].cells].forEach((header, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
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
  document.addEventListener("mouseover", (event) => {
    const data = event.target.closest && event.target.closest("data");
    if (!data || data.title) return;
    const source = data.dataset.source || "";
    const file = source.startsWith("#") ? data.closest("table").dataset.file : ""; // a cell of the table's own file
    data.title = data.value + (source && "\n" + file + source);
  });
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
