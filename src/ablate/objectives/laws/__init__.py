"""The laws that every objective keeps, and the exact values that the shipped objectives are committed to."""

from ablate.objectives.laws.examine import Finding, examine, shapes
from ablate.objectives.laws.law import LAWS, Law

__all__ = ["LAWS", "Finding", "Law", "examine", "shapes"]
