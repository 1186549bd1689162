"""``compared``: the document and the arms of a command line of ``ablate.compare``, in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))  # other_files

from ablate.compare import main


@pytest.fixture
def passed():
    """Outcomes of two models on 40 problems with 4 samples each: ``passed_APN``."""
    rng = np.random.default_rng(3)
    base_P = rng.beta(0.8, 0.8, 40)
    rate_AP = np.stack([base_P, np.clip(base_P + rng.uniform(-0.1, 0.35, 40), 0, 1)])
    return rng.random((2, 40, 4)) < rate_AP[:, :, None]


@pytest.fixture
def compare(capsys):
    """Run the command; return its output, or the sentence of a refusal."""

    def run(*words: str) -> str:
        try:
            main([str(word) for word in words])
        except SystemExit as stopped:
            code, sentence = stopped.code, capsys.readouterr().err
        else:
            return capsys.readouterr().out
        assert code == 2
        assert sentence.startswith("error: ")
        assert sentence.count("\n") == 1
        return sentence

    return run
