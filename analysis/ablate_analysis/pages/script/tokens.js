// The response coloured by one number per token, for one objective or side by side for all of them.
ablate.tokens = (() => {
  const { node, number, load } = ablate;
  const PAGE = 2000; // tokens in the page at once, shared by the columns
  const QUANTITIES = [
    ["share", "Share of the gradient", true, "Blue, solid line: the update makes the token more likely. Orange, dotted line: less likely."],
    ["clip", "Clipped", true, "A box marks a token whose clip binds: below 1 (blue) or above 1 (orange)."],
    ["log_ratio", "Log-ratio of the objective", true, "Blue, solid line: more likely than under the old policy. Orange, dotted line: less likely."],
    ["token_log_ratio", "Log-ratio of the token", false, "Blue, solid line: more likely than under the old policy. Orange, dotted line: less likely."],
    ["mismatch", "Mismatch of trainer and engine", false, "Blue, solid line: the trainer finds the token more likely than the engine. Orange, dotted line: less likely."],
  ];
  const HINT = "Per-token values are not recorded for this step. To add them, run: ";
  let choice = { quantity: "share", objective: "" }; // an empty objective means all, side by side

  const valuesOf = (rollout, quantity, objective) =>
    QUANTITIES.find(([name]) => name === quantity)[2] ? rollout.objectives[objective][quantity] : rollout[quantity];

  const visible = (text) => text.replaceAll("\n", "⏎\n").replaceAll("\t", "→\t");

  // Strength of the colour, and the kind of line under the token, so that nothing depends on the colour alone.
  function tokenNode(text, value, scale, isClip) {
    const made = node("span", { text: visible(text) });
    if (!value || !scale) return made;
    made.className = `${isClip ? "boxed " : ""}${value > 0 !== isClip ? "up" : "down"}`;
    made.style.setProperty("--strength", `${Math.round(12 + 68 * Math.sqrt(Math.min(1, Math.abs(value) / scale)))}%`);
    return made;
  }

  function column(rollout, objective, scale, start, size) {
    const values = valuesOf(rollout, choice.quantity, objective);
    const isClip = choice.quantity === "clip";
    const end = Math.min(rollout.texts.length, start + size);
    const line = node("pre", { class: "tokens", tabIndex: 0, role: "listbox", "aria-label": `tokens under ${objective}` });
    for (let index = start; index < end; index += 1) {
      const made = tokenNode(rollout.texts[index], values[index], scale, isClip);
      made.dataset.index = index;
      line.append(made);
    }
    const said = isClip
      ? `${number(values.filter((value) => value !== 0).length)} clipped`
      : choice.quantity === "share" ? `${number(100 * values.reduce((sum, value) => sum + Math.abs(value), 0))} % of the batch's gradient` : "";
    return node("div", { class: "token-column" }, node("h5", {}, objective, node("small", { text: said })), line);
  }

  function describe(rollout, names, index) {
    const own = [`token ${index + 1}: ${JSON.stringify(rollout.texts[index])}`, `ratio ${number(Math.exp(rollout.token_log_ratio[index]), 4)}`, `mismatch ${number(rollout.mismatch[index])}`];
    const each = names.map((name) => {
      const { share, clip } = rollout.objectives[name];
      return `${name} ${number(100 * share[index])} %${clip[index] ? " clipped" : ""}`;
    });
    return `${own.join(" · ")} · gradient: ${each.join(", ")}`;
  }

  function menu(label, options, value, onChoice) {
    const made = node("select", { "aria-label": label }, ...options.map(([name, text]) => node("option", { value: name, text })));
    made.value = value;
    made.onchange = () => onChoice(made.value);
    return made;
  }

  function view(rollout, label) {
    const names = Object.keys(rollout.objectives);
    if (choice.objective && !names.includes(choice.objective)) choice.objective = "";
    const place = node("div", { class: "token-view" });
    let page = 0, focus = 0;

    function draw() {
      const [, , perObjective, meaning] = QUANTITIES.find(([name]) => name === choice.quantity);
      const columns = !perObjective ? [names[0]] : choice.objective ? [choice.objective] : names;
      const size = Math.floor(PAGE / columns.length);
      const pages = Math.ceil(rollout.texts.length / size);
      page = Math.min(page, pages - 1);
      const scale = columns.reduce((top, name) => valuesOf(rollout, choice.quantity, name).reduce((best, value) => Math.max(best, Math.abs(value)), top), 0);
      const info = node("p", { class: "reading", "aria-live": "polite" });
      const controls = node("div", { class: "controls" },
        menu("Quantity", QUANTITIES.map(([name, text]) => [name, text]), choice.quantity, (value) => { choice.quantity = value; draw(); }),
        perObjective ? menu("Objective", [["", "side by side"], ...names.map((name) => [name, name])], choice.objective, (value) => { choice.objective = value; draw(); }) : null,
      );
      if (pages > 1) {
        const step = (by) => () => { page += by; focus = page * size; draw(); };
        controls.append(
          node("button", { type: "button", text: "Earlier tokens", disabled: page === 0, onclick: step(-1) }),
          node("button", { type: "button", text: "Later tokens", disabled: page === pages - 1, onclick: step(1) }),
          node("span", { text: `tokens ${page * size + 1} to ${Math.min(rollout.texts.length, (page + 1) * size)} of ${rollout.texts.length}` }),
        );
      }
      const legend = node("p", { class: "legend" },
        node("span", { class: "down", text: "less" }), " ", node("span", { text: "0" }), " ", node("span", { class: "up", text: "more" }),
        ` ${meaning}${choice.quantity === "clip" ? "" : ` Full colour: ${choice.quantity === "share" ? `${number(100 * scale)} % of the gradient` : number(scale)}.`} Keys: arrows move, 1 to 5 choose the quantity, o the objective.`,
      );
      const shown = columns.map((name) => column(rollout, perObjective ? name : "every objective", scale, page * size, size));
      const columnsNode = node("div", { class: "token-columns" }, ...shown);
      const point = (index) => {
        if (!(index >= page * size && index < Math.min(rollout.texts.length, (page + 1) * size))) return;
        focus = index;
        columnsNode.querySelectorAll(".here").forEach((each) => each.classList.remove("here"));
        columnsNode.querySelectorAll(`[data-index="${index}"]`).forEach((each) => each.classList.add("here"));
        info.textContent = describe(rollout, names, index);
      };
      columnsNode.onclick = (event) => event.target.dataset.index && point(Number(event.target.dataset.index));
      columnsNode.onkeydown = (event) => {
        const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (by) { event.preventDefault(); point(focus + by); }
      };
      place.replaceChildren(controls, legend, columnsNode, info);
      point(focus);
    }

    place.onkeydown = (event) => {
      if (ablate.isTyping(event)) return;
      const wanted = QUANTITIES[Number(event.key) - 1];
      if (wanted) choice.quantity = wanted[0];
      else if (event.key === "o") choice.objective = ["", ...names][(["", ...names].indexOf(choice.objective) + 1) % (names.length + 1)];
      else return;
      draw();
      place.querySelector(".tokens").focus();
    };
    draw();
    return node("details", { open: true, class: "token-details" }, node("summary", { text: label }), place);
  }

  // The token view of a rollout; a hint how to make one where nothing was recorded.
  async function panel(row) {
    const places = row.index.tokens.filter((each) => row.rollout in each.chunk);
    if (!places.length) return node("p", { class: "note" }, HINT, node("code", { text: ablate.run.replay }));
    const newest = places.at(-1);
    const chunk = await load(`${newest.path}/${newest.chunk[row.rollout]}`);
    return view(chunk[row.rollout], `Tokens, with the weights of checkpoint ${newest.checkpoint}`);
  }

  return { panel };
})();
