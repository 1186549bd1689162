"""docs/conformance.md, made from the outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

from benchmarks.conformance.run import Outcome

INSTALLED = """# What other trainers' objectives compute

This page is generated: `make conformance` installs the trainers below from the package index, calls their own advantage
and loss functions on the same batches, and compares them with `ablate.replay` under the keys of docs/objectives.md.
Four more trainers are in [conformance_checkouts.md](conformance_checkouts.md).
"""
CHECKOUTS = """# What the objectives of four more trainers compute

This page is generated from checkouts, because the package index has no usable form of these trainers. After
`make conformance` ([conformance.md](conformance.md)), this calls their own advantage and loss functions on the same
batches:

```sh
python -m benchmarks.conformance checkout.nemo_rl=DIR checkout.slime=DIR \\
    checkout.prime_rl=DIR checkout.open_instruct=DIR
```
"""
HEAD = """
Compared are the advantages, and the gradient of the loss by every token's log-probability given the same advantages,
in float64, on several batches and splits into micro-batches. "equal" means that the largest gap is below 1e-6 of the
largest value everywhere. What an adapter emulates stands at its top (benchmarks/conformance/adapters): no trainer's
loop is run.

"Different" says nothing about right and wrong. The name is the same and the gradient is another; each row says what
follows from that.
"""


def page(outcomes: Sequence[Outcome], are_checkouts: bool = False) -> str:
    versions = list(dict.fromkeys(each.version for each in outcomes))
    kinds = Counter(each.verdict.kind for each in outcomes)
    counts = ", ".join(f"{kinds[kind]} {words}" for kind, words in WORDS.items() if kinds[kind])
    head = (CHECKOUTS if are_checkouts else INSTALLED) + HEAD
    parts = [head, f"Measured on {date.today():%Y-%m-%d} with {', '.join(versions)}: {len(outcomes)} rows, {counts}.\n"]
    for version in versions:
        rows = [each for each in outcomes if each.version == version]
        parts.append(f"\n## {version}\n\n| ours | its keys | compared | result |\n|---|---|---|---|")
        parts += [
            f"| {text(each.row.cell)} | {code(each.row.keys)} | {each.row.compare} | {result(each)} |" for each in rows
        ]
        different = [each for each in rows if each.row.why]
        if different:
            parts.append("\n" + "\n".join(explanation(each) for each in different))
    return "\n".join(parts) + "\n"


WORDS = {"equal": "equal", "factor": "equal up to a factor", "different": "different", "refused": "refused"}


def text(words: str) -> str:
    return words.replace("|", "\\|")


def code(words: str) -> str:
    return f"`{text(words)}`"


def result(each: Outcome) -> str:
    if each.verdict.kind == "factor":
        low, high = each.verdict.factors[0], each.verdict.factors[-1]
        return f"equal up to a factor: {low:.4g}" + (f" to {high:.4g}" if high != low else "")
    return WORDS[each.verdict.kind]


def explanation(each: Outcome) -> str:
    """One item of the list below a trainer's table."""
    row = each.row
    same = ""
    if row.same_as:
        words = " ".join(f"{key}={'null' if value is None else value}" for key, value in row.same_as.items())
        same = f" The same as theirs: `{words.replace('benchmarks/conformance/', '')}` (checked to 1e-6)."
        if row.old_logp != "old_logp":
            same += f" There the old policy's log-probabilities are `{row.old_logp}`."
    return f"* **{text(row.cell)}**, `{text(row.keys)}`: {row.why}. {row.consequence}{same}"
