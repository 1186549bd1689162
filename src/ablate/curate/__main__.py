"""``python -m ablate.curate``: a training set and an evaluation set from public data sets.

    python -m ablate.curate source.deepcoder=DIR source.livecodebench=DIR out=DIR
    python -m ablate.curate source.nouscoder=DIR source.taco_verified=DIR source.livecodebench=DIR out=DIR
    python -m ablate.curate ... out=DIR shard=3 shards=16      # job 3 of 16 on a shared disk, counted from 0

The same command continues after a kill, and does what the jobs of an array left. out=DIR must be new; work in progress
stands in DIR.partial. Keys of its own: shard, shards. Every other word is a key of conf/curate.yaml. See docs/data.md.
"""

from __future__ import annotations

from errno import EDQUOT, EFBIG, ENOSPC

from ablate.cli import compose, read_words, run_main
from ablate.errors import UserError

OWN_KEYS = ("shard", "shards")
NO_SPACE = (ENOSPC, EDQUOT, EFBIG)
NOT_IN_COMMAND = ("out", "workers")  # they change no byte of the result


def share_of(own: dict[str, str]) -> tuple[int, int] | None:
    """This job of an array and the number of jobs; None for a whole curation."""
    if not own:
        return None
    if set(own) != set(OWN_KEYS) or not all(value.isascii() and value.isdigit() for value in own.values()):
        raise UserError("shard=K needs shards=N, both whole numbers: shard=0 to shard=N-1 are the jobs of one array")
    job, jobs = int(own["shard"]), int(own["shards"])
    if job >= jobs:
        raise UserError(f"shard={job} is not below shards={jobs}: jobs are counted from 0")
    return job, jobs


def main() -> None:
    words = read_words(__doc__, OWN_KEYS, required=("out",))
    share = share_of(words.own)
    from omegaconf import OmegaConf

    from ablate.curate.progress import Progress
    from ablate.curate.run import curate
    from ablate.curate.settings import parse_curation

    values = OmegaConf.to_container(compose(words.overrides, config_name="curate"), resolve=True)
    config = parse_curation(values)
    shown = sorted(word for word in words.overrides if word.split("=")[0] not in NOT_IN_COMMAND)
    progress = Progress()
    try:
        manifest = curate(config, " ".join(["python -m ablate.curate", *shown]), share, progress)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise UserError(
            f"{config.out}: {str(error.strerror).lower()}: make room and repeat this command; what is done is kept"
        ) from error
    except KeyboardInterrupt:
        progress.say("what is done is kept: the same command continues")
        raise
    if manifest is not None:
        counts = manifest["counts"]
        progress.say(
            f"{config.out}: {counts['train']} problems to train on and {counts['evaluation']} to evaluate, of "
            f"{counts['read']} rows"
        )
        for reason, count in counts["reasons"].items():
            progress.say(f"{count:8} {reason}")


if __name__ == "__main__":
    run_main(main)
