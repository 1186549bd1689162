// One rollout: its first failed test, program, response, prompt and statement, and the other samples of its group.
ablate.detail = (() => {
  const { node, number, load } = ablate;
  const stepName = (step) => `step_${String(step).padStart(5, "0")}`;

  function block(title, text, { open = true, isProgram = false } = {}) {
    const body = node("pre", {}, isProgram ? ablate.highlight(text) : text);
    return node("details", { open }, node("summary", { text: title }), body);
  }

  function neighbours(row, group) {
    const made = node("nav", { class: "neighbours", "aria-label": "Samples of the same problem" }, node("b", { text: "Same group: " }));
    for (const other of group) {
      const passed = other.verdict === "accepted";
      const name = `${passed ? "✓" : "✗"} ${other.sample}`;
      const title = `sample ${other.sample}: ${other.verdict.replaceAll("_", " ")}, advantage ${number(other.advantage)}, ${number(other.length)} tokens`;
      const button = node("button", { type: "button", class: passed ? "passed" : "failed", text: name, title });
      if (other === row) button.setAttribute("aria-current", "true");
      button.onclick = () => ablate.browser.select(other);
      made.append(button);
    }
    return made;
  }

  // The hardest test runs first, and nothing runs after the first failure: what was not run is not a failed test.
  function tests(row) {
    if (row.verdict === "accepted") return `all ${row.num_tests} passed`;
    return row.num_tests ? `${row.passed} of ${row.num_tests} passed before the first failure` : "none was run";
  }

  function facts(row) {
    const pairs = [
      ["reward", number(row.reward)], ["advantage", number(row.advantage)], ["tokens", number(row.length)],
      ["tests", tests(row)], ["difficulty", row.difficulty],
      ["finished", row.truncated ? "no, cut off by the context limit" : "yes"], ["in the loss", row.in_loss ? "yes" : "no"],
    ];
    return node("dl", {}, ...pairs.map(([name, value]) => node("div", {}, node("dt", { text: name }), node("dd", { text: value }))));
  }

  async function show(place, row, group) {
    const wanted = `${row.step} ${row.rollout}`;
    place.dataset.shown = wanted;
    place.hidden = false;
    const chunk = await load(`steps/${stepName(row.step)}/texts_${row.index.chunk[row.rollout]}`).catch((error) => error);
    if (place.dataset.shown !== wanted) return; // another row was chosen in the meantime
    if (chunk instanceof Error) return place.replaceChildren(chunk.message);
    const texts = chunk.rollouts[row.rollout];
    const { statement, prompt } = chunk.problems[texts.problem];
    const head = node("h3", {}, `${row.problem}, sample ${row.sample}, step ${row.step} of ${ablate.run.label} `, ablate.browser.badge(row.verdict));
    const program = texts.program === null
      ? node("p", { class: "note", text: "The response has no closed code block, so there is no program." })
      : block("Program", texts.program, { isProgram: true });
    place.replaceChildren(
      ...[
        head, facts(row), neighbours(row, group), texts.failed_test ? ablate.failedTest(texts.failed_test, row.num_tests, row.passed) : null, program,
        block("Response", texts.response), await ablate.tokens.panel(row),
        statement ? block("Statement", statement, { open: false }) : null,
        prompt ? block("Prompt, as the model saw it", prompt, { open: false }) : null,
      ].filter((child) => child !== null),
    );
    place.dataset.ready = wanted;
    if (place.getBoundingClientRect().top > innerHeight * 0.8) place.scrollIntoView({ block: "start" });
  }

  return { show };
})();
