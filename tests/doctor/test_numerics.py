"""What the doctor says of a digest: as published, another one, or none to compare with."""

from __future__ import annotations

import json

import pytest

from ablate.doctor import numerics
from ablate.doctor.finding import OK


@pytest.mark.parametrize(
    ("published", "says"),
    [
        ({"digest": "0f", "device": "that CPU"}, "have the digest 0f, as published: runs have the numbers of that CPU"),
        (
            {"digest": "ff", "device": "that CPU"},
            "and not ff, that of that CPU: compare runs",
        ),
        (None, "none was published for this instruction set"),
    ],
)
def test_a_digest_is_compared_with_the_published_one_of_its_instruction_set(published, says, monkeypatch, tmp_path):
    file = tmp_path / "numerics.json"
    file.write_text(json.dumps({numerics.instruction_set(): published} if published else {}))
    monkeypatch.setattr(numerics, "PUBLISHED", file)
    monkeypatch.setattr(numerics, "digest", lambda model_dir: "0f")
    monkeypatch.setattr(numerics.torch.cuda, "is_available", lambda: False)
    found = numerics.numerics(tmp_path)
    assert found.status == OK
    assert says in found.says
