// The figures: scores by context, intervals in rows, curves over steps, and where a score comes from.
ablate.figures = (() => {
  const { node, svg, plot, cells } = ablate;

  const nearest = (values, wanted) => values.reduce((best, value) => (Math.abs(value - wanted) < Math.abs(best - wanted) ? value : best));
  const within = (event, picture) => {
    const box = picture.getBoundingClientRect(), view = picture.viewBox.baseVal;
    return [((event.clientX - box.left) / box.width) * view.width, ((event.clientY - box.top) / box.height) * view.height];
  };

  function interval(picture, colour, x1, y1, x2, y2) {
    picture.append(svg("line", { x1, y1, x2, y2, stroke: colour, "stroke-width": 1.6 }));
    const flat = y1 === y2;
    for (const [x, y] of [[x1, y1], [x2, y2]]) {
      picture.append(svg("line", { x1: x - (flat ? 0 : 3), x2: x + (flat ? 0 : 3), y1: y - (flat ? 3 : 0), y2: y + (flat ? 3 : 0), stroke: colour, "stroke-width": 1.6 }));
    }
  }

  // rows: [{cell, x, value, low, high}], xs: the places along the axis. The warm start is a dashed line.
  function dots(place, { rows, xs, unit, x_unit, x_title = "context at evaluation" }, said) {
    plot.keep(place, (width) => {
      const height = Math.round(Math.min(380, Math.max(250, width * 0.58)));
      const box = { left: 52, right: width - 8, top: 10, bottom: height - 42 };
      const picture = plot.canvas(width, height, said);
      const visible = rows.filter(({ cell }) => cells.isShown(cell));
      const y = plot.valueAxis(picture, plot.axis(visible.flatMap((row) => [row.low, row.high]), unit), unit, box);
      const band = (box.right - box.left) / xs.length;
      const middle = (x) => box.left + (xs.indexOf(x) + 0.5) * band;
      const trained = cells.shown().filter(({ look }) => look !== null);
      const shift = (cell) => (trained.length > 1 ? (trained.findIndex((each) => each.cell === cell) / (trained.length - 1) - 0.5) * band * 0.5 : 0);
      for (const x of xs) picture.append(svg("text", { x: middle(x), y: height - 24, "text-anchor": "middle" }, `${x.toLocaleString("en-US")} ${x_unit}`));
      picture.append(svg("text", { x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, x_title));
      for (const { cell } of trained) {
        const mine = visible.filter((row) => row.cell === cell).sort((a, b) => a.x - b.x);
        const d = mine.map((row, index) => `${index ? "L" : "M"}${middle(row.x) + shift(cell)} ${y(row.value)}`).join("");
        picture.append(svg("path", { d, fill: "none", stroke: cells.colour(cell), "stroke-dasharray": cells.dash(cell), opacity: 0.55 }));
        for (const row of mine) {
          const x = middle(row.x) + shift(cell);
          interval(picture, cells.colour(cell), x, y(row.low), x, y(row.high));
          picture.append(svg("path", { d: cells.marker(cell, x, y(row.value), 4.6), fill: cells.colour(cell) }));
        }
      }
      visible.filter((row) => cells.of(row.cell).look === null).forEach((row, index) => {
        const x = middle(row.x), half = band * 0.38;
        picture.append(svg("line", { x1: x - half, x2: x + half, y1: y(row.value), y2: y(row.value), stroke: "var(--ink)", "stroke-dasharray": "5 3", "stroke-width": 1.3 }));
        if (index === visible.filter((each) => each.cell === row.cell).length - 1) picture.append(svg("text", { x: x - half, y: y(row.value) + 13 }, cells.of(row.cell).name.toLowerCase()));
      });
      picture.onpointermove = (event) => {
        const x = xs[Math.max(0, Math.min(xs.length - 1, Math.floor((within(event, picture)[0] - box.left) / band)))];
        plot.showTip(event, `${x.toLocaleString("en-US")} ${x_unit}`, visible.filter((row) => row.x === x).map((row) => [cells.swatch(row.cell), cells.of(row.cell).name, plot.withInterval(row, unit)]));
      };
      picture.onpointerleave = plot.hideTip;
      return [picture];
    });
  }

  // rows: [{group, label, value, low, high, cell?}]; a group is a heading. Values are differences, in points.
  function forest(place, { rows }, said) {
    plot.keep(place, (width) => {
      const visible = rows.filter(({ cell }) => !cell || cells.isShown(cell));
      const groups = [...new Set(visible.map(({ group }) => group))];
      const longest = Math.max(0, ...visible.map(({ label }) => plot.textWidth(label)), ...groups.map(plot.textWidth));
      const left = Math.min(width * 0.44, longest + 16), right = width - 14;
      const height = groups.length * 24 + visible.length * 22 + 30;
      const picture = plot.canvas(width, height, said);
      const marks = plot.axis([0, ...visible.flatMap((row) => [row.low, row.high])], "points", width < 420 ? 4 : 6);
      const x = (value) => left + ((value - marks[0]) / (marks.at(-1) - marks[0])) * (right - left);
      for (const value of marks) {
        picture.append(svg("line", { x1: x(value), x2: x(value), y1: 6, y2: height - 24, class: value === 0 ? "zero" : "grid" }));
        picture.append(svg("text", { x: x(value), y: height - 10, "text-anchor": "middle" }, plot.tickText(value, "points")));
      }
      let y = 6;
      for (const group of groups) {
        picture.append(svg("text", { x: 0, y: y + 14, class: "heading" }, group));
        y += 24;
        for (const row of visible.filter((each) => each.group === group)) {
          const colour = row.cell ? cells.colour(row.cell) : "var(--ink)";
          picture.append(svg("text", { x: left - 8, y: y + 11, "text-anchor": "end" }, plot.cutTo(row.label, left - 10)));
          interval(picture, colour, x(row.low), y + 7, x(row.high), y + 7);
          picture.append(svg("path", { d: row.cell ? cells.marker(row.cell, x(row.value), y + 7) : cells.marker("", x(row.value), y + 7), fill: colour }));
          const target = svg("rect", { x: 0, y, width, height: 21, class: "target" });
          target.onpointermove = (event) => plot.showTip(event, `${row.label}, ${row.group}`, [[row.cell ? cells.swatch(row.cell) : null, "", `${plot.withInterval(row, "points")} points`]]);
          target.onpointerleave = plot.hideTip;
          picture.append(target);
          y += 22;
        }
      }
      return [picture];
    });
  }

  const pathOf = (xs, values, x, y) => {
    let d = "", goes = false;
    values.forEach((value, index) => {
      if (value !== null) d += `${goes ? "L" : "M"}${x(xs[index]).toFixed(1)} ${y(value).toFixed(1)}`;
      goes = value !== null;
    });
    return d;
  };

  const cursors = new Set(); // the figures over steps share a cursor
  // lines: [{cell, x, value, low?, high?, seeds?: {seed: {x, value}}}]. onStep(step) is called by a click.
  function curves(place, { lines, unit, x_unit = "step", has_bands = false }, said, { onStep = null, height: fixed = null } = {}) {
    let moveCursor = () => {};
    if (x_unit === "step") cursors.add((step) => moveCursor(step));
    plot.keep(place, (width) => {
      const height = fixed ?? Math.round(Math.min(300, Math.max(190, width * 0.5)));
      const box = { left: 52, right: width - 12, top: 8, bottom: height - 26 };
      const picture = plot.canvas(width, height, said);
      const visible = lines.filter(({ cell }) => cells.isShown(cell));
      if (!visible.length) return [picture];
      const seeds = visible.flatMap(({ seeds = {} }) => Object.values(seeds));
      // A band over seeds may be far wider than the lines where seeds are few; one over problems (has_bands) is not.
      const bands = has_bands && visible.length <= 2 ? visible.flatMap(({ low = [], high = [] }) => [...low, ...high]) : [];
      const values = [...visible, ...seeds].flatMap(({ value }) => value).concat(bands);
      const marks = plot.axis(values, unit, 4);
      const y = plot.valueAxis(picture, marks, unit, box);
      const xs = [...new Set(visible.flatMap((line) => line.x))].sort((a, b) => a - b);
      const x = (value) => box.left + ((value - xs[0]) / (xs.at(-1) - xs[0] || 1)) * (box.right - box.left);
      for (const value of plot.ticks(xs[0], xs.at(-1), width < 420 ? 4 : 6).filter((each) => each > xs[0] + (xs.at(-1) - xs[0]) * 0.14 && each <= xs.at(-1))) {
        picture.append(svg("text", { x: x(value), y: height - 8, "text-anchor": value === xs.at(-1) ? "end" : "middle" }, plot.tickText(value, "")));
      }
      picture.append(svg("text", { x: box.left, y: height - 8 }, x_unit));
      const name = `clip-${Math.random().toString(36).slice(2)}`;
      const clip = svg("clipPath", { id: name });
      clip.append(svg("rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top }));
      const inside = svg("g", { "clip-path": `url(#${name})` });
      for (const line of visible) {
        const colour = cells.colour(line.cell);
        if (visible.length <= 2 && line.low?.some((value) => value !== null)) { // more bands would hide each other
          const known = line.x.map((step, index) => [x(step), line.low[index], line.high[index]]).filter(([, low]) => low !== null);
          const d = `M${known.map(([at, , high]) => `${at.toFixed(1)} ${y(high).toFixed(1)}`).join("L")}L${known.reverse().map(([at, low]) => `${at.toFixed(1)} ${y(low).toFixed(1)}`).join("L")}z`;
          inside.append(svg("path", { d, fill: colour, opacity: 0.09 }));
        }
        for (const seed of Object.values(line.seeds ?? {})) inside.append(svg("path", { d: pathOf(seed.x, seed.value, x, y), fill: "none", stroke: colour, opacity: 0.35 }));
        inside.append(svg("path", { d: pathOf(line.x, line.value, x, y), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": line.unfinished ? "1 4" : cells.dash(line.cell), class: "line" }));
      }
      const cursor = svg("line", { y1: box.top, y2: box.bottom, class: "cursor", visibility: "hidden" });
      picture.append(clip, inside, cursor);
      moveCursor = (step) => {
        cursor.setAttribute("visibility", step === null ? "hidden" : "visible");
        if (step !== null) { cursor.setAttribute("x1", x(step)); cursor.setAttribute("x2", x(step)); }
      };
      const at = (event) => nearest(xs, xs[0] + ((within(event, picture)[0] - box.left) / (box.right - box.left)) * (xs.at(-1) - xs[0]));
      picture.onpointermove = (event) => {
        const step = at(event);
        if (x_unit === "step") for (const move of cursors) move(step); else moveCursor(step);
        plot.showTip(event, `${x_unit} ${ablate.number(step)}`, visible.map((line) => {
          const index = line.x.indexOf(nearest(line.x, step));
          return [cells.swatch(line.cell), cells.of(line.cell).name, plot.withInterval({ value: line.value[index], low: line.low?.[index], high: line.high?.[index] }, unit)];
        }));
      };
      picture.onpointerleave = () => { plot.hideTip(); for (const move of cursors) move(null); moveCursor(null); };
      if (onStep) { picture.onclick = (event) => onStep(at(event)); picture.classList.add("clickable"); }
      return [picture];
    });
  }

  // rows: [{cell, group, x: share finished, y: passed of the finished}]; a grey curve joins equal Pass@1.
  function scatter(place, { rows }, said) {
    plot.keep(place, (width) => {
      const groups = [...new Set(rows.map(({ group }) => group))];
      const across = Math.max(1, Math.min(groups.length, Math.floor(width / 240)));
      const each = width / across, height = 230;
      const visible = rows.filter(({ cell }) => cells.isShown(cell));
      const xMarks = plot.axis([...visible.map((row) => row.x), 1], "percent", 4), yMarks = plot.axis(visible.map((row) => row.y), "percent", 4);
      return groups.map((group) => {
        const picture = plot.canvas(each - 4, height, `${said} At ${group} tokens.`);
        const box = { left: 48, right: each - 34, top: 24, bottom: height - 36 };
        const y = plot.valueAxis(picture, yMarks, "percent", box);
        const x = (value) => box.left + ((value - xMarks[0]) / (xMarks.at(-1) - xMarks[0] || 1)) * (box.right - box.left);
        picture.append(svg("text", { x: 0, y: 13, class: "heading" }, `${group.toLocaleString("en-US")} tokens`));
        picture.append(svg("text", { x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, "finished"));
        for (const value of xMarks) picture.append(svg("text", { x: x(value), y: height - 20, "text-anchor": "middle" }, plot.tickText(value, "percent")));
        for (let level = 0.1; level < 0.95; level += 0.1) {
          const points = [];
          for (let at = xMarks[0]; at <= xMarks.at(-1) + 1e-9; at += (xMarks.at(-1) - xMarks[0]) / 40) {
            if (at > 0 && level / at <= yMarks.at(-1) && level / at >= yMarks[0]) points.push(`${x(at).toFixed(1)} ${y(level / at).toFixed(1)}`);
          }
          if (points.length > 1) picture.append(svg("path", { d: `M${points.join("L")}`, class: "iso" }));
          if (level >= yMarks[0] && level <= yMarks.at(-1)) picture.append(svg("text", { x: box.right + 4, y: y(level) + 3.5, class: "faint" }, `${Math.round(100 * level)} %`));
        }
        for (const row of visible.filter((other) => other.group === group)) {
          picture.append(svg("path", { d: cells.marker(row.cell, x(row.x), y(row.y), 5.5), fill: cells.colour(row.cell) }));
        }
        picture.onpointermove = (event) => plot.showTip(event, `${group.toLocaleString("en-US")} tokens: finished, passed of these`, visible.filter((other) => other.group === group).map((row) => [cells.swatch(row.cell), cells.of(row.cell).name, `${plot.text(row.x, "percent")}, ${plot.text(row.y, "percent")}`]));
        picture.onpointerleave = plot.hideTip;
        return picture;
      });
    });
  }

  const KINDS = { dots, forest, curves, scatter };
  // Every element with data-figure, drawn from the page's data; a figure that is folded away is drawn when it opens.
  function drawAll(figures) {
    for (const place of document.querySelectorAll("[data-figure]")) {
      const { kind, ...values } = figures[place.dataset.figure];
      KINDS[kind](place, values, place.getAttribute("aria-label"));
    }
  }

  return { ...KINDS, drawAll };
})();
