"""The laws that every objective keeps, and the exact values that the shipped objectives are committed to."""

from ablate.objectives.laws.examine import MARKS, Finding, examine, shapes, table, weaknesses
from ablate.objectives.laws.law import LAWS, Law

__all__ = ["LAWS", "MARKS", "Finding", "Law", "examine", "shapes", "table", "weaknesses"]
