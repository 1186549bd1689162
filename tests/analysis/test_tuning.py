"""The rule that chooses a learning rate for each objective."""

import pandas as pd

from ablate_analysis.tuning import rates


def test_the_rate_with_the_best_last_score_at_the_longest_context_is_chosen_and_ties_go_to_the_lower_one():
    rows, rate_of = [], {}
    scores = {("grpo", 1e-4): 0.5, ("grpo", 2e-4): 0.75, ("gspo", 1e-4): 0.5, ("gspo", 2e-4): 0.5}
    for (objective, rate), score in scores.items():
        for seed in (0, 1):
            run = f"{objective}-{rate}/seed{seed}"
            rate_of[run] = rate
            for sample in range(4):
                last = {"objective": objective, "run": run, "step": 40, "passed": sample < 4 * score}
                rows += [last | {"context": 320}, last | {"context": 128, "passed": rate == 1e-4}]
                rows.append(last | {"context": 320, "step": 0, "passed": rate == 1e-4})  # the start counts for nothing
    table = rates(pd.DataFrame(rows), rate_of)
    chosen = table[table["chosen"]].set_index("objective")["rate"].to_dict()
    assert chosen == {"grpo": 2e-4, "gspo": 1e-4}
    assert table.set_index(["objective", "rate"])["score"].to_dict() == scores
    assert set(table["seeds"]) == {2}
