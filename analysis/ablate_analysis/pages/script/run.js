// A run's page: its curves, its timelines, and its rollouts.
(async () => {
  const place = (name) => document.getElementById(name);
  const { node, cells, figures, charts } = ablate;
  ablate.themeButton();
  ablate.tables.enhanceAll();
  ablate.run = await ablate.unpack(place("data").textContent);
  const { curves, timelines, whole, steps } = ablate.run;
  cells.define(ablate.run.cells);

  function showTimeline(step) {
    const found = timelines[step] ?? [];
    place("timeline-step").value = String(step);
    place("timeline").replaceChildren(found.length ? charts.timeline(found) : "No span of this step is recorded.");
    place("whole").show?.(Number(step));
  }

  // What a click on a step leads to is brought into view, and its rollouts are chosen where they were saved.
  function goTo(step) {
    showTimeline(step);
    const section = place("timelines");
    section.open = true;
    section.classList.remove("flash");
    section.scrollIntoView({ block: "start", behavior: "smooth" });
    requestAnimationFrame(() => section.classList.add("flash"));
    if (steps.some((each) => each.step === step)) ablate.browser.chooseStep(step);
  }

  place("curves").replaceChildren(...curves.map(({ title }) => node("figure", { class: "chart" }, node("figcaption", { text: title }), node("div", { class: "canvas" }))));
  [...place("curves").children].forEach((figure, index) => {
    const { title, ...values } = curves[index];
    figures.curves(figure.lastChild, values, title, { onStep: goTo, height: 170 });
  });
  const timed = Object.keys(timelines);
  if (timed.length) {
    place("timeline-step").replaceChildren(...timed.map((step) => node("option", { value: step, text: `step ${step}` })));
    place("timeline-step").onchange = (event) => showTimeline(event.target.value);
    place("kinds").replaceChildren(charts.legend(new Set(Object.values(timelines).flatMap((lines) => lines.map(([name]) => charts.kindOf(name))))));
    charts.wholeRun(place("whole"), whole, goTo);
    showTimeline(timed.at(-1));
  }
  ablate.searchTable(place("configuration"), place("configuration-search"));
  if (steps.length) await ablate.browser.start(steps, (row, group) => ablate.detail.show(place("detail"), row, group));
  ablate.reload(ablate.run.live_s);
  document.body.dataset.ready = "yes";
})();
