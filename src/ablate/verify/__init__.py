"""Verify programs: extraction, the sandbox, comparison, verdicts."""
