// Small line charts as SVG: this run, and the baseline's run with the same seed in grey.
ablate.charts = (() => {
  const SPACE = "http://www.w3.org/2000/svg";
  const WIDTH = 300, HEIGHT = 150, LEFT = 44, RIGHT = 8, TOP = 8, BOTTOM = 22;

  function svg(tag, attributes, text = null) {
    const made = document.createElementNS(SPACE, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== null) made.textContent = text;
    return made;
  }

  function rangeOf(values) {
    const low = Math.min(...values), high = Math.max(...values);
    const pad = (high - low || Math.abs(high) || 1) * 0.06;
    return low === high ? [low - pad, high + pad] : [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
  }

  // lines: [{name, steps, values, baseline}]; a missing value is null and interrupts its line.
  function chart(title, lines, onStep) {
    const known = lines.flatMap((line) => line.values.filter((value) => value !== null));
    const steps = lines.flatMap((line) => line.steps);
    const [low, high] = rangeOf(known);
    const first = Math.min(...steps), last = Math.max(...steps, first + 1);
    const x = (step) => LEFT + ((step - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const newest = lines[0].values.filter((value) => value !== null).at(-1);
    const said = `${title} over steps ${first} to ${last}; the last value is ${ablate.number(newest)}`;
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said });
    for (const value of [low, (low + high) / 2, high]) {
      picture.append(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid" }));
      picture.append(svg("text", { x: LEFT - 4, y: y(value) + 3.5, "text-anchor": "end" }, ablate.number(value, 2)));
    }
    for (const [step, anchor] of [[first, "start"], [last, "end"]]) {
      picture.append(svg("text", { x: x(step), y: HEIGHT - 6, "text-anchor": anchor }, `step ${step}`));
    }
    for (const line of [...lines].reverse()) {
      let path = "";
      line.values.forEach((value, index) => {
        if (value === null) return;
        const starts = path === "" || line.values[index - 1] === null;
        path += `${starts ? "M" : "L"}${x(line.steps[index]).toFixed(1)} ${y(value).toFixed(1)}`;
      });
      picture.append(svg("path", { d: path, class: line.baseline ? "baseline" : "own" }));
    }
    const caption = ablate.node("figcaption", {}, title);
    const reading = ablate.node("span", { class: "reading", text: ablate.number(newest) });
    caption.append(reading);
    const figure = ablate.node("figure", { class: "chart" }, caption, picture);
    const stepAt = (event) => {
      const box = picture.getBoundingClientRect();
      const share = ((event.clientX - box.left) / box.width) * WIDTH;
      const wanted = first + ((share - LEFT) / (WIDTH - LEFT - RIGHT)) * (last - first);
      return lines[0].steps.reduce((near, step) => (Math.abs(step - wanted) < Math.abs(near - wanted) ? step : near));
    };
    picture.onpointermove = (event) => {
      const step = stepAt(event);
      reading.textContent = `step ${step}: ${ablate.number(lines[0].values[lines[0].steps.indexOf(step)])}`;
    };
    picture.onpointerleave = () => (reading.textContent = ablate.number(newest));
    picture.onclick = (event) => onStep(stepAt(event));
    return figure;
  }

  // Lines of one step: [[name, [[start, seconds], ...], seconds of them all], ...], from the step's first span.
  function timeline(lines) {
    const end = Math.max(...lines.flatMap(([, bars]) => bars.map(([start, seconds]) => start + seconds)));
    const rows = ablate.node("div", { class: "timeline" });
    for (const [name, bars, total] of lines) {
      const track = ablate.node("span", { class: "track" });
      for (const [start, seconds] of bars) {
        const bar = ablate.node("span", { class: "bar", title: `${start.toFixed(2)} to ${(start + seconds).toFixed(2)} s` });
        bar.style.left = `${(100 * start) / end}%`;
        bar.style.width = `${Math.max(0.3, (100 * seconds) / end)}%`;
        track.append(bar);
      }
      rows.append(ablate.node("span", { text: name.replaceAll("_", " ") }), track, ablate.node("span", { text: `${total.toFixed(2)} s` }));
    }
    return rows;
  }

  return { chart, timeline };
})();
