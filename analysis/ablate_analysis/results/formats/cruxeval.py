"""CRUXEval: the scored generations, ``{"raw_scored_generations": {"sample_0": [true, false], ...}}``."""

from __future__ import annotations

from pathlib import Path

from ablate.errors import UserError
from ablate_analysis.results.files import whole_json
from ablate_analysis.results.samples import Options, Results, Sample

NAME = "cruxeval"
VERDICTS = "raw_scored_generations"


def matches(path: Path) -> bool:
    content = whole_json(path) if path.suffix == ".json" and path.is_file() else None
    return isinstance(content, dict) and isinstance(content.get(VERDICTS), dict)


def read(path: Path, options: Options) -> Results:
    results = Results(NAME)
    for problem, verdicts in whole_json(path)[VERDICTS].items():
        for number, passed in enumerate(verdicts):
            if not isinstance(passed, bool):
                raise UserError(f"{path}: sample {number} of {problem} is {passed!r}: write true or false there")
            source = f"{path.name}:{VERDICTS}.{problem}[{number}]"
            results.samples.append(Sample(problem, float(passed), number, source=source))
    return results
