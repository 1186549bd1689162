"""Which share of groups has both outcomes where problems rest after groups with one (``data.history``).

``assumptions.kept_share`` is the share without rests. A problem whose last group had one outcome has one again with
``assumptions.repeat_share``, and the chance after a group with both follows, so that without rests the share stays what
it is. Shares of all problems move between the states from step to step; nothing is drawn at random.
"""

from __future__ import annotations

from collections import deque

from ablate.config import RunConfig
from ablate.estimate.device import AssumptionsConfig
from ablate.estimate.problems import num_train_problems

NEVER, MIXED = 0, 1  # states of a problem: never drawn, both outcomes last; state j + 1: j groups of one in a row


def kept_shares(config: RunConfig, assumed: AssumptionsConfig, drops_groups: bool) -> list[float]:
    """The share of drawn groups with both outcomes, for each step of the run."""
    history, rollout, num_steps = config.data.history, config.rollout, config.context.num_steps
    if history is None:
        return [assumed.kept_share] * num_steps
    num_problems = num_train_problems(config, assumed)
    one = 1 - assumed.kept_share
    repeats = max(one, assumed.repeat_share)
    chances = [one, one * (1 - repeats) / assumed.kept_share, *[repeats] * history.groups]  # of one outcome, by state
    awake = [1.0, *[0.0] * (history.groups + 1)]  # shares of all problems
    asleep: deque[float] = deque()  # by the step since which they rest, the longest first
    least = min(1.0, rollout.max_draws / num_problems)
    shares = []
    for _ in range(num_steps):
        while asleep and (len(asleep) > history.rest_steps or sum(awake) < least):
            awake[-1] += asleep.popleft()
        all_awake = sum(awake)
        shares.append(1 - sum(share * chance for share, chance in zip(awake, chances, strict=True)) / all_awake)
        draws = rollout.prompts_per_step / (shares[-1] if drops_groups else 1)
        drawn = min(1.0, draws / (num_problems * all_awake))
        moved = [share * drawn for share in awake]
        repeated = [share * chance for share, chance in zip(moved, chances, strict=True)]
        awake = [share - each for share, each in zip(awake, moved, strict=True)]
        awake[MIXED] += sum(moved) - sum(repeated)
        resting = 0.0
        for state, share in enumerate(repeated):
            following = max(state, MIXED) + 1
            if following > history.groups:
                resting += share
            else:
                awake[following] += share
        asleep.append(resting)
    return shares
