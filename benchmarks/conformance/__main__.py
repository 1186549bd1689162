"""``python -m benchmarks.conformance``: run the rows, print the table, write docs/conformance.md; see ``__init__``."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.conformance.page import page, result
from benchmarks.conformance.run import ROOT, run_peers

PEERS = ("trl", "verl", "skyrl", "openrlhf", "areal", "swift")  # from the package index
FROM_CHECKOUTS = ("nemo_rl", "slime", "prime_rl", "open_instruct")
ENVIRONMENT = ROOT / ".venv-conformance" / "bin" / "python"
PAGES = {ROOT / "docs" / "conformance.md": PEERS, ROOT / "docs" / "conformance_checkouts.md": FROM_CHECKOUTS}
CHECKOUT = "checkout."


def main() -> int:
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    checkouts = {key.removeprefix(CHECKOUT): value for key, value in words.items() if key.startswith(CHECKOUT)}
    peers = words["peers"].split(",") if "peers" in words else [*PEERS, *checkouts]
    python = Path(words.get("python", ENVIRONMENT))
    if not python.exists():
        print(f"error: {python} does not exist: run make conformance, which installs the trainers", file=sys.stderr)
        return 2
    outcomes = run_peers(peers, python, checkouts)
    for each in outcomes:
        same = "" if each.same is None else f"; under same_as: {each.same.kind}"
        mark = "" if each.is_as_expected else f"  <-- expected {each.row.expected}, largest gap {each.verdict.gap:.3g}"
        print(f"{each.version:18} {each.row.compare:9} {each.row.cell} | {each.row.keys} | {result(each)}{same}{mark}")
    changed = [each for each in outcomes if not each.is_as_expected]
    for path, names in PAGES.items():
        if set(names) <= set(peers):
            found = [each for each in outcomes if each.row.peer in names]
            path.write_text(page(found, are_checkouts=names == FROM_CHECKOUTS))
            print(f"written: {path.relative_to(ROOT)}")
    if changed:
        print(
            f"{len(changed)} of {len(outcomes)} rows are not what rows/*.yaml expects: correct the row, or its reason"
        )
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
