// The timelines of a run's page: the whole run, and the spans of one step. A stage has one colour in both.
ablate.charts = (() => {
  const { node, svg, plot } = ablate;
  const KINDS = ["sample", "verify", "verify_alone", "wait_batch", "weights", "old_logp", "ref_logp", "update", "evaluate", "checkpoint", "records"];
  const kindOf = (name) => { const kind = name.split(": ").at(-1); return KINDS.includes(kind) ? kind : "other"; };
  const words = (name) => name.replaceAll("_", " ");

  function legend(kinds) {
    return node("p", { class: "kinds" }, ...KINDS.filter((kind) => kinds.has(kind)).map((kind) => node("span", {}, node("i", { class: `k-${kind}` }), words(kind))));
  }

  // Lines of one step: [[name, [[start, seconds], ...], seconds of them all], ...], from the step's first span.
  function timeline(lines) {
    const end = Math.max(...lines.flatMap(([, bars]) => bars.map(([start, seconds]) => start + seconds)));
    const rows = node("div", { class: "timeline" });
    for (const [name, bars, total] of lines) {
      const track = node("span", { class: "track" });
      for (const [start, seconds] of bars) {
        const bar = node("span", { class: `bar k-${kindOf(name)}`, title: `${start.toFixed(2)} to ${(start + seconds).toFixed(2)} s` });
        bar.style.left = `${(100 * start) / end}%`;
        bar.style.width = `${Math.max(0.3, (100 * seconds) / end)}%`;
        track.append(bar);
      }
      rows.append(node("span", { text: words(name) }), track, node("span", { text: `${total.toFixed(2)} s` }));
    }
    return rows;
  }

  const clock = (seconds) => {
    const whole = Math.round(seconds), hours = Math.floor(whole / 3600);
    const two = (value) => String(value).padStart(2, "0");
    return hours ? `${hours}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}` : `${Math.floor(whole / 60)}:${two(whole % 60)}`;
  };

  // {seconds, rows: [{name, idle, bars: [[start, seconds, kind, step], ...]}], steps: [[step, start, stop], ...], cuts: [...]}
  function wholeRun(place, { seconds, rows, steps, cuts }, onStep) {
    let chosen = null;
    plot.keep(place, (width) => {
      const left = Math.min(130, width * 0.28), right = width - 76, each = 24, height = rows.length * each + 34;
      const picture = plot.canvas(width, height, `Every step of the run over ${clock(seconds)}`);
      const x = (value) => left + (value / (seconds || 1)) * (right - left);
      rows.forEach((row, index) => {
        const y = 4 + index * each;
        picture.append(svg("text", { x: left - 8, y: y + 13, "text-anchor": "end" }, words(row.name).slice(0, Math.floor(left / 6.5))));
        picture.append(svg("rect", { x: left, y, width: right - left, height: each - 6, class: "idle" }));
        for (const [start, length, kind] of row.bars) {
          picture.append(svg("rect", { x: x(start).toFixed(1), y, width: Math.max(0.6, x(start + length) - x(start)).toFixed(1), height: each - 6, class: `k-${kind}` }));
        }
        picture.append(svg("text", { x: right + 6, y: y + 13 }, `idle ${Math.round(100 * row.idle)} %`));
      });
      for (const at of cuts) picture.append(svg("line", { x1: x(at), x2: x(at), y1: 0, y2: height - 26, class: "cut" }));
      const bottom = height - 26;
      for (const value of plot.ticks(0, seconds, width < 500 ? 3 : 6).filter((value) => value <= seconds)) picture.append(svg("text", { x: x(value), y: height - 6, "text-anchor": "middle" }, clock(value)));
      const mark = svg("rect", { y: 0, height: bottom, class: "chosen", visibility: "hidden" });
      picture.append(mark);
      const show = (step) => {
        chosen = step;
        const found = steps.find(([number]) => number === step);
        mark.setAttribute("visibility", found ? "visible" : "hidden");
        if (found) { mark.setAttribute("x", x(found[1])); mark.setAttribute("width", Math.max(2, x(found[2]) - x(found[1]))); }
      };
      place.show = show;
      const at = (event) => {
        const box = picture.getBoundingClientRect();
        const time = (((event.clientX - box.left) / box.width) * width - left) / (right - left) * seconds;
        const distance = ([, start, stop]) => Math.max(start - time, time - stop, 0);
        return [time, steps.reduce((best, each) => (distance(each) < distance(best) ? each : best), steps[0])];
      };
      picture.onpointermove = (event) => {
        const [time, step] = at(event);
        const index = Math.floor((event.clientY - picture.getBoundingClientRect().top - 4) / each), row = rows[index];
        const bar = row?.bars.find(([start, length]) => start <= time && time <= start + length);
        plot.showTip(event, step ? `step ${step[0]}` : "", row ? [[null, words(row.name), bar ? `${words(bar[2])}, ${bar[1].toFixed(2)} s` : "idle"]] : []);
      };
      picture.onpointerleave = plot.hideTip;
      picture.onclick = (event) => { const [, step] = at(event); if (step) onStep(step[0]); };
      picture.classList.add("clickable");
      if (chosen !== null) show(chosen);
      return [picture];
    });
  }

  return { timeline, wholeRun, legend, kindOf };
})();
