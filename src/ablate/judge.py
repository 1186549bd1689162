"""The former name of ``ablate.verify``, kept for one version."""

from __future__ import annotations

import sys

from ablate.cli import hand_over

if __name__ == "__main__":
    hand_over("ablate.judge", "ablate.verify", sys.argv[1:])
