// The table of rollouts: one step at a time, or all saved steps. Rows are numbers in columns; 100 of them are nodes.
ablate.browser = (() => {
  const { node, number, load } = ablate;
  const PAGE = 100;
  const HEADINGS = [
    ["step", "step"], ["verdict", "verdict"], ["problem", "problem"], ["sample", "sample"], ["tests", "tests run"],
    ["reward", "reward"], ["advantage", "advantage"], ["length", "tokens"], ["truncated", "cut off"], ["in_loss", "in loss"],
  ];

  let steps = [];
  let rows = []; // rows of the chosen steps: {step, rollout, problem, ...}
  let shown = []; // those that pass the filters, in the chosen order
  let order = { key: null, descending: false };
  let page = 0;
  let selected = null;
  let onSelect = () => {};
  const part = (name) => document.getElementById(`rollouts-${name}`);

  // All tests up to the first failure, which ends the verification; none where there is nothing to run.
  const testsRun = (verdict, passed) => (verdict === "accepted" ? passed : ["no_code", "compile_error"].includes(verdict) ? 0 : passed + 1);

  // One step's index: columns of equal length, and the lists that some columns point into.
  function rowsOf(index) {
    return index.sample.map((sample, rollout) => ({
      step: index.step,
      rollout,
      sample,
      problem: index.problems[index.problem[rollout]],
      difficulty: index.difficulties[index.problem[rollout]],
      verdict: index.verdicts[index.verdict[rollout]],
      passed: index.num_passed[rollout],
      tests: testsRun(index.verdicts[index.verdict[rollout]], index.num_passed[rollout]),
      num_tests: index.num_tests[rollout],
      reward: index.reward[rollout],
      advantage: index.advantage[rollout],
      length: index.length[rollout],
      truncated: index.truncated[rollout],
      in_loss: index.in_loss[rollout],
      group: index.group[rollout],
      index,
    }));
  }

  // Names that begin alike differ at their end, so the middle is what is left out.
  const short = (problem) => (problem.length > 22 ? `${problem.slice(0, 9)}…${problem.slice(-11)}` : problem);
  const indexOf = (step) => load(`steps/${stepName(step)}/index`);
  const stepName = (step) => `step_${String(step).padStart(5, "0")}`;

  async function chooseStep(step) {
    part("step").value = String(step);
    rows = [];
    const wanted = step === "all" ? steps.map((each) => each.step) : [Number(step)];
    for (const [done, each] of wanted.entries()) {
      if (wanted.length > 1) part("count").textContent = `reading step ${done + 1} of ${wanted.length}`;
      const index = await indexOf(each).catch((error) => { part("count").textContent = error.message; });
      if (!index) return;
      if (part("step").value !== String(step)) return; // another choice was made in the meantime
      rows = rows.concat(rowsOf(index));
    }
    fillVerdicts();
    refresh();
  }

  function fillVerdicts() {
    const menu = part("verdict");
    const before = menu.value;
    const known = [...new Set(rows.map((row) => row.verdict))].sort();
    menu.replaceChildren(...[["", "any verdict"], ["failed", "any failure"], ...known.map((name) => [name, name])].map(
      ([value, text]) => node("option", { value, text: text.replaceAll("_", " ") }),
    ));
    menu.value = [...menu.options].some((option) => option.value === before) ? before : "";
  }

  function passes(row, words, verdict, onlyCut) {
    if (verdict === "failed" ? row.verdict === "accepted" : verdict && row.verdict !== verdict) return false;
    if (onlyCut && !row.truncated) return false;
    const text = `${row.problem} ${row.difficulty} ${row.verdict} sample ${row.sample} step ${row.step}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  function refresh() {
    const words = part("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = part("verdict").value, onlyCut = part("cut").checked;
    shown = rows.filter((row) => passes(row, words, verdict, onlyCut));
    if (order.key !== null) {
      const sign = order.descending ? -1 : 1;
      const { key } = order;
      shown.sort((a, b) => sign * (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0) || a.step - b.step || a.rollout - b.rollout);
    }
    page = 0;
    draw();
  }

  function draw() {
    const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
    page = Math.min(Math.max(page, 0), last);
    const start = page * PAGE;
    const visible = shown.slice(start, start + PAGE);
    part("body").replaceChildren(...visible.map(rowNode));
    part("count").textContent = shown.length
      ? `${number(start + 1)} to ${number(start + visible.length)} of ${number(shown.length)}`
      : "no rollout matches";
    part("previous").disabled = page === 0;
    part("next").disabled = page === last;
  }

  function rowNode(row) {
    const cells = [
      row.step, null, short(row.problem), row.sample, `${row.tests} of ${row.num_tests}`, number(row.reward),
      number(row.advantage), number(row.length), row.truncated ? "yes" : "", row.in_loss ? "" : "no",
    ].map((value) => (value === null ? node("td", {}, badge(row.verdict)) : node("td", { text: String(value) })));
    const made = node("tr", { tabIndex: 0, onclick: () => select(row) }, ...cells);
    made.onkeydown = (event) => event.key === "Enter" && select(row);
    if (row === selected) made.setAttribute("aria-selected", "true");
    return made;
  }

  // The sign differs as well as the colour.
  function badge(verdict) {
    const passed = verdict === "accepted";
    return node("span", { class: passed ? "badge passed" : "badge failed", text: `${passed ? "✓" : "✗"} ${verdict.replaceAll("_", " ")}` });
  }

  function select(row) {
    selected = row;
    const place = shown.indexOf(row);
    if (place >= 0) page = Math.floor(place / PAGE);
    draw();
    history.replaceState(null, "", `#step=${row.step}&rollout=${row.rollout}`);
    onSelect(row, neighbours(row));
  }

  const neighbours = (row) => rows.filter((other) => other.step === row.step && other.group === row.group);

  function move(by) {
    const place = shown.indexOf(selected) + by;
    if (place >= 0 && place < shown.length) select(shown[place]);
  }

  function sortBy(key) {
    const cycle = order.key !== key ? { key, descending: false } : order.descending ? { key: null, descending: false } : { key, descending: true };
    order = cycle;
    for (const heading of part("head").cells) {
      heading.removeAttribute("aria-sort");
      if (heading.dataset.key === order.key) heading.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
    }
    refresh();
  }

  async function openAt(hash) {
    const wanted = new URLSearchParams(hash.slice(1));
    const step = steps.find((each) => String(each.step) === wanted.get("step"))?.step ?? steps.at(-1).step;
    await chooseStep(step);
    const row = rows[Number(wanted.get("rollout") ?? -1)];
    if (row) select(row);
  }

  function start(savedSteps, chosen) {
    steps = savedSteps;
    onSelect = chosen;
    const share = (each) => `step ${each.step}: ${number((100 * each.passed) / each.rollouts)} % of the ${each.rollouts} that trained passed`;
    part("step").replaceChildren(
      ...steps.map((each) => node("option", { value: String(each.step), text: share(each) })),
      node("option", { value: "all", text: `all ${steps.length} saved steps` }),
    );
    part("head").replaceChildren(...HEADINGS.map(([key, text]) => {
      const heading = node("th", { "data-key": key }, node("button", { class: "sort", type: "button", text }));
      heading.firstChild.onclick = () => sortBy(key);
      return heading;
    }));
    part("step").onchange = (event) => chooseStep(event.target.value);
    for (const name of ["search", "verdict", "cut"]) part(name).oninput = refresh;
    part("previous").onclick = () => { page -= 1; draw(); };
    part("next").onclick = () => { page += 1; draw(); };
    document.addEventListener("keydown", (event) => {
      if (ablate.isTyping(event)) return;
      if (event.key === "j") move(1);
      if (event.key === "k") move(-1);
      if (event.key === "/") { event.preventDefault(); part("search").focus(); }
    });
    return openAt(location.hash);
  }

  return { start, select, badge, chooseStep };
})();
