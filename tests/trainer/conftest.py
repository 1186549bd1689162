"""Fixtures of the trainer's tests."""

from __future__ import annotations

import sys
from pathlib import Path

# Modules that tests share, and that ranks of a job run as programs.
sys.path.insert(0, str(Path(__file__).parent))
