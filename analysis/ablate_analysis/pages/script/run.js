// A run's page: its curves, the timeline of a chosen step, and its rollouts.
(async () => {
  const place = (name) => document.getElementById(name);
  ablate.themeButton();
  ablate.tables.enhanceAll();
  ablate.run = await ablate.unpack(place("data").textContent);
  const { curves, timelines, steps } = ablate.run;

  function showTimeline(step) {
    const found = timelines[step] ?? [];
    place("timeline-step").value = String(step);
    place("timeline").replaceChildren(found.length ? ablate.charts.timeline(found) : "No span of this step is recorded.");
  }

  place("curves").replaceChildren(...curves.map(({ title, lines }) => ablate.charts.chart(title, lines, showTimeline)));
  const timed = Object.keys(timelines);
  if (timed.length) {
    place("timeline-step").replaceChildren(...timed.map((step) => ablate.node("option", { value: step, text: `step ${step}` })));
    place("timeline-step").onchange = (event) => showTimeline(event.target.value);
    showTimeline(timed.at(-1));
  }
  if (steps.length) await ablate.browser.start(steps, (row, group) => ablate.detail.show(place("detail"), row, group));
  document.body.dataset.ready = "yes";
})();
