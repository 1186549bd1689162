// Tables that stand in the page: a click on a heading sorts, two buttons copy the table as it is shown.
ablate.tables = (() => {
  const { node } = ablate;

  const textOf = (cell) => cell.textContent.trim().replace(/\s+/g, " ");

  // "97.3 [91.0, 99.9]" and "+1,024" sort by their first number; cells without one sort as text, after the numbers.
  function sortKey(cell) {
    const match = textOf(cell).replace(/,(?=\d{3})/g, "").match(/^[+−-]?\d+(\.\d+)?(e[+-]?\d+)?/i);
    return match ? Number(match[0].replace("−", "-")) : textOf(cell);
  }

  function compare(left, right) {
    if (typeof left === typeof right) return left < right ? -1 : left > right ? 1 : 0;
    return typeof left === "number" ? -1 : 1;
  }

  function sortBy(table, column, heading) {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => compare(sortKey(a.cells[column]), sortKey(b.cells[column])));
    body.append(...(descending ? rows.reverse() : rows));
  }

  const grid = (table) => [...table.rows].map((row) => [...row.cells].map(textOf));

  function markdown(table) {
    const line = (cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
    const [head, ...rows] = grid(table);
    const rule = `|---|${"---:|".repeat(head.length - 1)}`;
    return [line(head), rule, ...rows.map(line)].join("\n") + "\n";
  }

  function csv(table) {
    const field = (cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    return grid(table).map((cells) => cells.map(field).join(",") + "\n").join("");
  }

  // Without a clipboard (an old browser, or no permission) the text is shown, ready to be copied by hand.
  function copy(text, button) {
    const said = button.textContent;
    const done = () => {
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = said), 1500);
    };
    const show = () => {
      const area = node("textarea", { value: text, rows: 8, readOnly: true });
      button.parentElement.after(area);
      area.select();
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, show);
    else show();
  }

  function enhance(figure) {
    const table = figure.querySelector("table");
    if (table.tBodies.length === 1) [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = node("button", { class: "sort", type: "button", title: "Sort by this column" });
      button.append(...heading.childNodes);
      button.onclick = () => sortBy(table, column, heading);
      heading.append(button);
    });
    const buttons = node("span", { class: "copy" });
    for (const [name, form] of [["Markdown", markdown], ["CSV", csv]]) {
      const button = node("button", { type: "button", text: name, title: `Copy this table as ${name}` });
      button.onclick = () => copy(form(table), button);
      buttons.append(button);
    }
    figure.querySelector("figcaption").append(buttons);
  }

  return { enhanceAll: () => document.querySelectorAll("figure.table").forEach(enhance), markdown, csv };
})();
