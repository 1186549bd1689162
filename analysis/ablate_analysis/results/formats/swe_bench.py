"""SWE-bench: the report ``<model>.<run>.json``, which lists the ids of instances by outcome. One attempt each."""

from __future__ import annotations

from pathlib import Path

from ablate_analysis.results.files import whole_json
from ablate_analysis.results.samples import Options, Results, Sample

NAME = "swe-bench"
NO_VERDICT = "infra_failure_ids"  # also listed as unresolved


def matches(path: Path) -> bool:
    content = whole_json(path) if path.suffix == ".json" and path.is_file() else None
    return isinstance(content, dict) and {"resolved_ids", "submitted_ids"} <= set(content)


def read(path: Path, options: Options) -> Results:
    """Submitted and not resolved is a failure, an empty patch included; the repository is the cluster."""
    content = whole_json(path)
    resolved, broken = set(content["resolved_ids"]), set(content.get(NO_VERDICT) or ())
    results = Results(NAME)
    for instance in content["submitted_ids"]:
        score = None if instance in broken else float(instance in resolved)
        results.samples.append(Sample(instance, score, 0, source=f"{path.name}:{instance}"))
        results.about[instance] = {"cluster": instance.rpartition("-")[0] or instance}
    results.note_count(len(content.get("incomplete_ids") or ()), "instances were not attempted and are left out")
    results.note_count(len(broken), "instances failed with the infrastructure and have no verdict")
    return results
