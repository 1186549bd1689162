"""``python -m ablate.atropos``: an Atropos environment of the problems, engine and verifier that the words describe.

    run-api --host 127.0.0.1 --port 8000
    python -m ablate.train experiment=tiny objective=grpo rollout.groups_from=atropos
    python -m ablate.atropos experiment=tiny objective=grpo rollout.groups_from=atropos

The words are those of ablate.train. src/ablate/atropos/README.md says what such a run is, and what it is not.
"""

from __future__ import annotations

from ablate.cli import compose, read_words, run_main
from ablate.config import parse


def main() -> None:
    from ablate.atropos.environment import Environment
    from ablate.sampling import open_sampling
    from ablate.verify.shared import shared_verifier
    from ablate.warm_start import ensure_model

    config = parse(compose(read_words(__doc__, ()).overrides))
    model_dir = ensure_model(config)
    sampling = open_sampling(config, model_dir, shared_verifier(config.verify))
    Environment(config, sampling, model_dir, lambda line: print(line, flush=True)).serve()


if __name__ == "__main__":
    run_main(main)
