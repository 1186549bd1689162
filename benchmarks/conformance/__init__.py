"""What other trainers' own loss functions compute on our batches, and which objective of ours that is.

    make conformance                                  installs the trainers, runs all rows, writes docs/conformance.md
    python -m benchmarks.conformance peers=trl,verl   only these; a page is written where all its trainers have run
    python -m benchmarks.conformance checkout.slime=DIR   a trainer that is not on the package index: also nemo_rl,
                                                      prime_rl, open_instruct; all four write a page of their own

A row (rows/*.yaml) names a trainer's keys, the objective of ours that docs/objectives.md gives for them, and what is
expected: equal, equal up to a factor, or different, with the reason, its consequence and, where slots can express it,
the objective of ours that is the same as theirs. An adapter (adapters/*.py) calls the trainer's installed functions and
says what it emulates. Every row runs on several batches and splits into micro-batches, in float64. Compared are the
advantages, and d loss / d logp of every response token given the same advantages.
"""
