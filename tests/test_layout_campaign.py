"""The table of layouts marks what is beyond its limit."""

from benchmarks.layouts.compare import FP32_LIMITS, all_within, row


def test_a_gap_beyond_its_limit_and_collectives_that_differ_are_marked_and_fail_the_campaign():
    within = dict.fromkeys(FP32_LIMITS, 0.0)
    lines = {
        "within": row("tp2", 2, within, FP32_LIMITS, agree=True),
        "gap": row("tp2", 2, within | {"gradient": 1e-3}, FP32_LIMITS, agree=True),
        "calls": row("tp2", 2, within, FP32_LIMITS, agree=False),
    }
    assert "beyond" not in lines["within"][0]
    assert all("beyond the limit" in lines[name][0] for name in ("gap", "calls"))
    assert all_within([lines["within"]])
    assert not all_within([lines["gap"], lines["within"]])
