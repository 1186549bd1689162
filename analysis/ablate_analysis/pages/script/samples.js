// Problem x cell, and the samples of one problem in two cells side by side. Text from records becomes text nodes only.
(async () => {
  const { node, number, load, cells } = ablate;
  const PAGE = 100;
  const part = (name) => document.getElementById(name);
  ablate.themeButton();
  const data = await ablate.unpack(part("data").textContent);
  const { problems, difficulties, contexts, runs, warm_start } = data;
  let shown = [], page = 0, order = null, chosen = null; // chosen: {problem, left, right: {run, step, sample}}
  const wanted = { left: {}, right: {} };

  const short = (problem) => (problem.length > 28 ? `${problem.slice(0, 12)}…${problem.slice(-14)}` : problem);
  const columns = () => data.shares[part("context").value] ?? [];
  const column = (cell) => columns().find((each) => each.cell === cell);
  const share = (cell, problem) => {
    const found = column(cell);
    return found && found.samples[problem] ? found.passed[problem] / found.samples[problem] : null;
  };

  function options(select, pairs, value) {
    select.replaceChildren(...pairs.map(([key, text]) => node("option", { value: String(key), text })));
    if (pairs.some(([key]) => String(key) === String(value))) select.value = String(value);
  }

  // --- the matrix ----------------------------------------------------------------------------------------------------

  const FILTERS = {
    "": () => true,
    flips: (problem) => Math.abs((share(part("left").value, problem) ?? 0) - (share(part("right").value, problem) ?? 0)) > 0,
    left: (problem) => share(part("left").value, problem) > 0.5 && share(part("right").value, problem) < 0.5,
    right: (problem) => share(part("right").value, problem) > 0.5 && share(part("left").value, problem) < 0.5,
    never: (problem) => cells.shown().every(({ cell }) => !share(cell, problem)),
    always: (problem) => cells.shown().every(({ cell }) => share(cell, problem) === null || share(cell, problem) === 1),
  };

  function refresh() {
    const words = part("search").value.toLowerCase().split(/\s+/).filter(Boolean), filter = part("filter").value;
    shown = problems.map((_, index) => index).filter((index) => {
      const text = `${problems[index]} ${difficulties[index]}`.toLowerCase();
      return words.every((word) => text.includes(word)) && FILTERS[filter](index);
    });
    const gap = (index) => Math.abs(share(part("left").value, index) - share(part("right").value, index));
    if (filter === "flips") shown.sort((a, b) => gap(b) - gap(a) || a - b);
    if (order) shown.sort((a, b) => order.sign * ((share(order.cell, a) ?? -1) - (share(order.cell, b) ?? -1)) || a - b);
    page = 0;
    draw();
  }

  function draw() {
    const visible = cells.shown().filter(({ cell }) => column(cell));
    const heading = ({ cell, name }) => {
      const button = node("button", { class: "sort", type: "button", text: name, title: "Sort by this cell" });
      button.onclick = () => { order = order?.cell === cell && order.sign === 1 ? { cell, sign: -1 } : { cell, sign: 1 }; refresh(); };
      return node("th", order?.cell === cell ? { "aria-sort": order.sign === 1 ? "ascending" : "descending" } : {}, button);
    };
    part("head").replaceChildren(node("th", { text: "problem" }), node("th", { text: "difficulty" }), ...visible.map(heading));
    const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
    page = Math.min(Math.max(0, page), last);
    part("body").replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map((problem) => {
      const row = node("tr", {}, node("td", { text: short(problems[problem]), title: problems[problem] }), node("td", { text: difficulties[problem] }));
      if (chosen?.problem === problem) row.setAttribute("aria-selected", "true");
      for (const { cell } of visible) {
        const { passed, samples } = column(cell);
        const button = node("button", { type: "button", class: "number", text: samples[problem] ? `${passed[problem]}/${samples[problem]}` : "–", title: `${cells.of(cell).name}: open these samples` });
        const box = node("td", { class: "share", "data-cell": cell }, button);
        box.style.setProperty("--share", `${Math.round(100 * (share(cell, problem) ?? 0))}%`);
        button.onclick = () => open(problem, cell);
        row.append(box);
      }
      return row;
    }));
    part("count").textContent = shown.length ? `${number(page * PAGE + 1)} to ${number(Math.min(shown.length, (page + 1) * PAGE))} of ${number(shown.length)} problems` : "no problem matches";
    part("previous").disabled = page === 0;
    part("next").disabled = page === last;
  }

  // --- two cells side by side ----------------------------------------------------------------------------------------

  // Texts of a cell at the chosen context: its runs, last steps first; the warm start is step 0 of any run.
  function placesOf(cell) {
    const context = Number(part("context").value);
    return runs.flatMap((run) => run.texts
      .filter((each) => each.context === context && (cell === warm_start ? each.step === 0 : run.cell === cell && each.step > 0))
      .map((each) => ({ run, ...each }))).sort((a, b) => a.run.seed - b.run.seed || b.step - a.step);
  }

  function open(problem, cell) {
    if (cell !== part("left").value && cell !== part("right").value) { part("right").value = part("left").value; part("left").value = cell; wanted.left = wanted.right = {}; }
    chosen = { problem };
    draw();
    return showPair();
  }

  async function showPair() {
    if (!chosen) return;
    const { problem } = chosen, place = part("pair");
    const sides = ["left", "right"].map((side) => ({ side, cell: part(side).value, places: placesOf(part(side).value) }));
    const key = `${part("context").value} ${problem} ${sides.map(({ cell }) => cell).join(" ")}`;
    place.dataset.shown = key;
    place.hidden = false;
    const made = await Promise.all(sides.map(({ side, cell, places }) => column1(side, cell, places, problem)));
    if (place.dataset.shown !== key) return; // another problem was chosen in the meantime
    const statement = made.find(([, described]) => described)?.[1];
    place.replaceChildren(...[
      node("h3", { text: `${problems[problem]} ` }, node("small", { text: `${difficulties[problem]}, ${Number(part("context").value).toLocaleString("en-US")} tokens` })),
      statement ? block("Statement", statement.statement, false) : null,
      node("div", { class: "sides" }, ...made.map(([side]) => side)),
    ].filter(Boolean));
    place.dataset.ready = key;
    const address = new URLSearchParams({ context: part("context").value, problem: problems[problem], left: part("left").value, right: part("right").value });
    history.replaceState(null, "", `#${address}`);
    if (place.getBoundingClientRect().top > innerHeight * 0.8) place.scrollIntoView({ block: "start" });
  }

  // One side: the cell's name, its runs and steps, its samples, and the text of the chosen one; and the problem.
  async function column1(side, cell, places, problem) {
    const head = node("h4", {}, cells.swatch(cell), ` ${cells.of(cell).name}`);
    if (!places.length) return [node("section", {}, head, node("p", { class: "note", text: "The texts of these samples were not kept: eval.save_samples=true keeps them." })), null];
    const want = wanted[side];
    const found = places.find((each) => each.run.name === want.run && String(each.step) === String(want.step)) ?? places[0];
    const menu = node("select", { "aria-label": `${side}: run and step` });
    options(menu, places.map((each) => [places.indexOf(each), `seed ${each.run.seed}, step ${each.step}`]), places.indexOf(found));
    menu.onchange = () => { const next = places[Number(menu.value)]; wanted[side] = { run: next.run.name, step: next.step }; showPair(); };
    const chunk = found.chunk[problem] === undefined ? null : await load(`${found.path}/texts_${found.chunk[problem]}`).catch((error) => error);
    if (!chunk || chunk instanceof Error) return [node("section", {}, head, menu, node("p", { class: "note", text: chunk?.message ?? "not answered" })), null];
    const described = chunk[problem];
    const sample = described.samples.find((each) => String(each.sample) === String(want.sample)) ?? described.samples[0];
    const list = node("nav", { class: "neighbours", "aria-label": `${side}: samples` }, ...described.samples.map((each) => {
      const passed = each.verdict === "accepted";
      const button = node("button", { type: "button", class: passed ? "passed" : "failed", text: `${passed ? "✓" : "✗"} ${each.sample}`, title: `${each.verdict.replaceAll("_", " ")}, ${each.num_tokens} tokens` });
      if (each === sample) button.setAttribute("aria-current", "true");
      button.onclick = () => { wanted[side] = { ...want, run: found.run.name, step: found.step, sample: each.sample }; showPair(); };
      return button;
    }));
    const said = `${sample.verdict.replaceAll("_", " ")} · ${number(sample.num_tokens)} tokens · ${sample.finished ? "finished" : "cut off by the context"}`;
    return [node("section", {}, head, menu, list, node("p", { class: "note", text: said }), ...(failedTest(sample.failed_test, sample) ?? []),
      sample.program === null ? node("p", { class: "note", text: "The response has no closed code block, so there is no program." }) : block("Program", sample.program, true, true),
      block("Response", sample.response, true), block("Prompt, as the model saw it", described.prompt, false)), described];
  }

  function block(title, text, isOpen, isProgram = false) {
    return node("details", { open: isOpen }, node("summary", { text: title }), node("pre", {}, isProgram ? ablate.highlight(text) : text));
  }
  const failedTest = (test, sample) => (test ? [ablate.failedTest(test, sample.num_tests, sample.num_passed)] : null);

  // --- start ---------------------------------------------------------------------------------------------------------

  const start = new URLSearchParams(location.hash.slice(1));
  options(part("context"), contexts.map((context) => [context, `${context.toLocaleString("en-US")} tokens`]), start.get("context") ?? contexts.at(-1));
  const trained = data.cells.map(({ cell, name }) => [cell, name]);
  options(part("left"), trained, start.get("left") ?? trained[0][0]);
  options(part("right"), trained, start.get("right") ?? (trained[1] ?? trained[0])[0]);
  cells.define(data.cells);
  cells.onChange(refresh);
  for (const name of ["context", "filter", "left", "right", "search"]) part(name).oninput = () => { refresh(); showPair(); };
  part("previous").onclick = () => { page -= 1; draw(); };
  part("next").onclick = () => { page += 1; draw(); };
  const problem = problems.indexOf(start.get("problem"));
  if (problem >= 0) {
    chosen = { problem };
    const run = runs.find(({ name }) => name === start.get("run"));
    if (run) {
      const side = start.get("left") === run.cell ? "left" : "right";
      wanted[side] = { run: run.name, step: start.get("step"), sample: start.get("sample") };
    }
  }
  refresh();
  if (chosen && shown.includes(problem)) { // bring its row into view
    page = Math.floor(shown.indexOf(problem) / PAGE);
    draw();
    part("body").querySelector("[aria-selected]")?.scrollIntoView({ block: "nearest" });
    scrollTo(0, 0);
  }
  await showPair();
  document.body.dataset.ready = "yes";
})();
