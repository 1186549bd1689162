// What every figure needs: ticks that a person would choose, numbers as text, a tip at the pointer, and drawing again.
ablate.plot = (() => {
  const { node, svg, number } = ablate;

  // At most about ``count`` round values that cover low to high.
  function ticks(low, high, count = 5) {
    if (!(high > low)) high = low + (Math.abs(low) || 1);
    const rough = (high - low) / count, size = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((factor) => factor * size).find((each) => each >= rough * 0.999);
    const found = [];
    for (let index = Math.floor(low / step + 1e-9); index * step < high + step * 0.999; index += 1) found.push(Number((index * step).toPrecision(12)));
    return found;
  }

  // The axis of values: round ends around all of them, and never below 0 or above 100 % for a share.
  function axis(values, unit, count = 5) {
    const known = values.filter((value) => value !== null && value !== undefined);
    if (!known.length) return [0, 1];
    const scale = unit === "percent" || unit === "points" ? 100 : 1;
    const found = ticks(Math.min(...known) * scale, Math.max(...known) * scale, count).map((value) => value / scale);
    return unit === "percent" ? found.filter((value) => value >= -1e-9 && value <= 1 + 1e-9) : found;
  }

  const signed = (text, value) => (value > 0 ? `+${text}` : text.replace("-", "\u2212"));
  // How a value is written: "97.1 %", "+21.1", "80".
  function text(value, unit) {
    if (value === null || value === undefined) return "–";
    if (unit === "percent") return `${(100 * value).toFixed(Math.abs(value) < 0.0995 && value !== 0 ? 2 : 1)} %`;
    if (unit === "points") return signed((100 * value).toFixed(1), Number((100 * value).toFixed(1)));
    return number(value);
  }
  function tickText(value, unit) {
    if (unit === "percent") return `${Number((100 * value).toPrecision(6))} %`;
    if (unit === "points") return signed(String(Number((100 * value).toPrecision(6))), value);
    const size = Math.abs(value);
    if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
    return size >= 1e4 ? `${Number((value / 1e3).toPrecision(3))}k` : size !== 0 && size < 1e-3 ? Number(value.toPrecision(3)).toExponential() : String(value);
  }
  const withInterval = (row, unit) => `${text(row.value, unit)}${row.low === null || row.low === undefined ? "" : ` [${text(row.low, unit).replace(" %", "")}, ${text(row.high, unit).replace(" %", "")}]`}`;

  // --- the tip -------------------------------------------------------------------------------------------------------

  let tip = null;
  function showTip(event, title, rows) {
    if (!tip) document.body.append((tip = node("div", { class: "tip", role: "status" })));
    tip.replaceChildren(node("b", { text: title }), ...rows.map(([swatch, name, said]) => node("div", {}, swatch ?? "", node("span", { text: name }), node("span", { class: "said", text: said }))));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - box.width - 14 : event.clientX + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - box.height - 4))}px`;
  }
  const hideTip = () => { if (tip) tip.hidden = true; };

  // --- drawing -------------------------------------------------------------------------------------------------------

  const drawn = new Map(); // place -> draw(width)
  const redraw = (place) => { hideTip(); place.replaceChildren(...drawn.get(place)(Math.max(220, place.clientWidth))); };
  const observer = new ResizeObserver((entries) => requestAnimationFrame(() => {
    for (const { target } of entries) {
      if (Math.abs(Number(target.dataset.width ?? 0) - target.clientWidth) > 4) { target.dataset.width = target.clientWidth; redraw(target); }
    }
  }));
  // Draw into ``place`` now, at every new width, and when cells are switched. draw(width) returns nodes.
  function keep(place, draw) {
    drawn.set(place, draw);
    place.dataset.width = place.clientWidth;
    redraw(place);
    observer.observe(place);
  }
  ablate.cells.onChange(() => { for (const place of drawn.keys()) redraw(place); });

  function canvas(width, height, said) {
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": said });
  }
  // The width in pixels of a figure's text; a heading's is a little more.
  const pen = document.createElement("canvas").getContext("2d");
  function textWidth(text) {
    pen.font = `600 11px ${getComputedStyle(document.body).fontFamily}`;
    return pen.measureText(text).width;
  }
  function cutTo(text, width) {
    if (textWidth(text) <= width) return text;
    let kept = text;
    while (kept && textWidth(`${kept}…`) > width) kept = kept.slice(0, -1);
    return `${kept}…`;
  }
  // Grid and labels of the axis of values; returns the scale.
  function valueAxis(picture, marks, unit, { left, right, top, bottom }) {
    const low = marks[0], high = marks.at(-1);
    const y = (value) => bottom - ((value - low) / (high - low || 1)) * (bottom - top);
    for (const value of marks) {
      picture.append(svg("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" }));
      picture.append(svg("text", { x: left - 6, y: y(value) + 3.5, "text-anchor": "end" }, tickText(value, unit)));
    }
    return y;
  }

  return { ticks, axis, text, tickText, withInterval, showTip, hideTip, keep, canvas, textWidth, cutTo, valueAxis };
})();
