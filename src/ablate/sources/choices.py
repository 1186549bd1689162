"""The table of sources. A new source is a file next to this one, a row here and its facts in conf/source/NAME.yaml."""

from __future__ import annotations

from ablate.sources.base import Source
from ablate.sources.codecontests_plus import CodeContestsPlus
from ablate.sources.codeforces import Codeforces
from ablate.sources.deepcoder import DeepCoder
from ablate.sources.icpc import Icpc
from ablate.sources.livecodebench import LiveCodeBench
from ablate.sources.nouscoder import NousCoder
from ablate.sources.primeintellect import PrimeIntellect
from ablate.sources.taco_verified import TacoVerified

# Also the order in which sources are preferred among duplicates: checkers, references and stubs first.
SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        *(Icpc(), Codeforces(), CodeContestsPlus(), TacoVerified(), DeepCoder(), PrimeIntellect(), NousCoder()),
        LiveCodeBench(),
    )
}
