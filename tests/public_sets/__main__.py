"""``python -m tests.public_sets OUT``: write one directory per source."""

import sys
from pathlib import Path

from .write import write_all

if len(sys.argv) != 2:
    sys.exit("give one word: the directory to write to")
for name, directory in write_all(Path(sys.argv[1])).items():
    print(f"source.{name}={directory}")
