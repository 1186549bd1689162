// The cells of a page: their looks, and which of them are shown. A cell is switched on and off everywhere at once.
ablate.cells = (() => {
  const { node, svg } = ablate;
  const KEY = "ablate cells";
  // As in style.py: colours are CSS variables, so that they follow the theme; marker and dash differ as well.
  const DASHES = ["", "7 2.5", "2 2", "7 2.5 2 2.5", "11 3", "4 1.5 1.5 1.5 1.5 1.5", "3 3"];
  const MARKERS = [
    (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
    (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    (x, y, r) => `M${x} ${y - 1.2 * r}L${x + 1.15 * r} ${y + r}H${x - 1.15 * r}z`,
    (x, y, r) => `M${x} ${y - 1.35 * r}L${x + 1.35 * r} ${y}L${x} ${y + 1.35 * r}L${x - 1.35 * r} ${y}z`,
    (x, y, r) => `M${x} ${y + 1.2 * r}L${x + 1.15 * r} ${y - r}H${x - 1.15 * r}z`,
    (x, y, r) => `M${x - r} ${y - r / 2.5}h${r * 0.6}v${-r * 0.6}h${r * 0.8}v${r * 0.6}h${r * 0.6}v${r * 0.8}h${-r * 0.6}v${r * 0.6}h${-r * 0.8}v${-r * 0.6}h${-r * 0.6}z`,
    (x, y, r) => `M${x - r} ${y - 0.6 * r}L${x - 0.6 * r} ${y - r}L${x} ${y - 0.4 * r}L${x + 0.6 * r} ${y - r}L${x + r} ${y - 0.6 * r}L${x + 0.4 * r} ${y}L${x + r} ${y + 0.6 * r}L${x + 0.6 * r} ${y + r}L${x} ${y + 0.4 * r}L${x - 0.6 * r} ${y + r}L${x - r} ${y + 0.6 * r}L${x - 0.4 * r} ${y}z`,
  ];
  let list = []; // {cell, name, look}: look is a number, "grey" or null (the warm start)
  let hidden = new Set();
  const listeners = [];

  const of = (cell) => list.find((each) => each.cell === cell) ?? { cell, name: cell, look: "grey" };
  const colour = (cell) => {
    const { look } = of(cell);
    return look === null ? "var(--ink)" : look === "grey" ? "var(--soft)" : `var(--c${look % 7})`;
  };
  const round = (look) => Math.floor(look / 7);
  const dash = (cell) => {
    const { look } = of(cell);
    return typeof look === "number" ? DASHES[(look + round(look)) % 7] : "4 3";
  };
  const marker = (cell, x, y, r = 4) => {
    const { look } = of(cell);
    return MARKERS[typeof look === "number" ? (look + round(look)) % 7 : 0](x, y, r);
  };
  const isShown = (cell) => !hidden.has(cell);

  function swatch(cell, width = 26) {
    const picture = svg("svg", { viewBox: `0 0 ${width} 12`, width, height: 12, "aria-hidden": "true", class: "swatch" });
    picture.append(svg("line", { x1: 0, x2: width, y1: 6, y2: 6, stroke: colour(cell), "stroke-width": 2, "stroke-dasharray": dash(cell) }));
    if (typeof of(cell).look === "number") picture.append(svg("path", { d: marker(cell, width / 2, 6, 3.6), fill: colour(cell) }));
    return picture;
  }

  function change(next) {
    hidden = next;
    try { sessionStorage.setItem(KEY, JSON.stringify([...hidden])); } catch { /* a page from a disk may have no storage */ }
    for (const each of document.querySelectorAll("[data-cell]")) each.classList.toggle("off", hidden.has(each.dataset.cell));
    for (const listener of listeners) listener();
    drawChips();
  }

  function drawChips() {
    const place = document.getElementById("cells");
    if (!place) return;
    place.replaceChildren(...list.map(({ cell, name }) => {
      const button = node("button", { type: "button", class: "chip", "aria-pressed": String(isShown(cell)), title: "Show or hide this cell everywhere; with Shift: show it alone" }, swatch(cell), name);
      button.onclick = (event) => {
        const next = new Set(hidden);
        if (event.shiftKey) change(new Set(list.map((each) => each.cell).filter((each) => each !== cell)));
        else { if (!next.delete(cell)) next.add(cell); change(next.size === list.length ? new Set() : next); }
      };
      return button;
    }));
    if (hidden.size) place.append(node("button", { type: "button", class: "chip", text: "all", onclick: () => change(new Set()) }));
  }

  function define(cells) {
    list = cells;
    let kept = [];
    try { kept = JSON.parse(sessionStorage.getItem(KEY) ?? "[]"); } catch { /* as above */ }
    change(new Set(kept.filter((cell) => list.some((each) => each.cell === cell))));
  }

  return { define, of, colour, dash, marker, swatch, isShown, all: () => list, shown: () => list.filter(({ cell }) => isShown(cell)), onChange: (listener) => listeners.push(listener) };
})();
