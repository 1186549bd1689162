// What a program answered to the test that it failed.
ablate.failedTest = (test, count, passed) => {
  const { node } = ablate;
  const title = test.test === null ? "Why it failed" : `It failed test ${test.test + 1} of ${count}, ${passed ? `after ${passed} that passed` : "which runs first"}; the other ${count - passed - 1} were not run`;
  const made = node("section", { class: "failed-test" }, node("h4", { text: title }));
  for (const [name, heading] of [["input", "Input"], ["expected", "Expected"], ["got", "Got"], ["detail", "Reason"]]) {
    if (!test[name] && (name === "detail" || test.test === null)) continue;
    const text = test[name] ?? "not recorded";
    made.append(node("div", { class: name }, node("b", { text: heading }), node("pre", { text: text === "" ? "(nothing)" : text })));
  }
  return made;
};
// Python with colours. The pieces are text nodes, whatever the program holds.
ablate.highlight = (() => {
  const KEYWORDS = new Set(
    ("and as assert async await break class continue def del elif else except finally for from global if import in is " +
      "lambda nonlocal not or pass raise return try while with yield True False None match case").split(" "),
  );
  const BUILTINS = new Set(
    ("abs all any bin bool bytes chr dict divmod enumerate filter float frozenset int input iter len list map max min " +
      "next open ord pow print range repr reversed round set sorted str sum super tuple type zip").split(" "),
  );
  const STRING = `[rRbBfFuU]{0,2}(?:"""[\\s\\S]*?(?:"""|$)|'''[\\s\\S]*?(?:'''|$)|"(?:\\\\.|[^"\\\\\\n])*"?|'(?:\\\\.|[^'\\\\\\n])*'?)`;
  const TOKEN = new RegExp(`(#[^\\n]*)|(${STRING})|(\\b\\d[\\w.]*)|([A-Za-z_]\\w*)`, "g");

  function kindOf(match) {
    if (match[1]) return "comment";
    if (match[2]) return "string";
    if (match[3]) return "number";
    return KEYWORDS.has(match[4]) ? "keyword" : BUILTINS.has(match[4]) ? "builtin" : null;
  }

  return function highlight(program) {
    const code = ablate.node("code");
    let end = 0;
    for (const match of program.matchAll(TOKEN)) {
      const kind = kindOf(match);
      if (kind === null) continue;
      code.append(program.slice(end, match.index), ablate.node("span", { class: `py-${kind}`, text: match[0] }));
      end = match.index + match[0].length;
    }
    code.append(program.slice(end));
    return code;
  };
})();
