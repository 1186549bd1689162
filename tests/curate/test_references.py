"""Why a problem goes whose references do not confirm its tests."""

import pytest

from ablate.curate.references import failure
from ablate.types import VerdictKind as Kind


@pytest.mark.parametrize(
    ("kinds", "num_readings_passed", "reason"),
    [
        ([Kind.runtime_error, Kind.wrong_answer], 0, "reference_fails"),
        ([Kind.wrong_answer, Kind.time_limit], 0, "reference_too_slow"),
        ([Kind.accepted, Kind.accepted], 2, "ambiguous_wrapping"),
    ],
)
def test_only_a_reference_that_passes_both_readings_of_outputs_is_ambiguous(kinds, num_readings_passed, reason):
    assert failure(kinds, num_readings_passed)[0] == reason
