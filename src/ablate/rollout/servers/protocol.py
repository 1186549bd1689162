"""What vLLM's servers answer on the routes that are read here; an answer of another form is the server's fault."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.json import Decoder

from ablate.rollout.answer import AnswerCheck
from ablate.rollout.engine import Request, Sampled
from ablate.rollout.servers.dispatch import ServerFailed

TokenId = Annotated[int, Meta(ge=0, lt=2**31)]
KIB = 1024
# A token of a response takes 75 bytes, its text as JSON at worst a few hundred.
BYTES_PER_TOKEN = 512


class Model(Struct):
    id: str
    max_model_len: int


class Models(Struct):
    """/v1/models"""

    data: Annotated[list[Model], Meta(min_length=1)]


class WeightInfo(Struct):
    """/weight_info"""

    weight_version: str


class CacheReset(Struct):
    """/reset_prefix_cache"""

    success: bool


class WorldSize(Struct):
    """/get_world_size"""

    world_size: Annotated[int, Meta(ge=1)]


class Results(Struct):
    """/collective_rpc: what each worker returned, as text; a worker that returns nothing is null."""

    results: list[str | None] = []


class LogProbs(Struct):
    token_logprobs: list[float]


class Choice(Struct):
    finish_reason: str
    prompt_token_ids: list[TokenId]
    token_ids: list[TokenId]
    logprobs: LogProbs


class Completions(Struct):
    """/v1/completions, with ``return_token_ids``"""

    choices: Annotated[list[Choice], Meta(min_length=1, max_length=1)]


read_models = Decoder(Models).decode
read_weight_info = Decoder(WeightInfo).decode
read_cache_reset = Decoder(CacheReset).decode
read_world_size = Decoder(WorldSize).decode
read_results = Decoder(Results).decode
read_completions = Decoder(Completions).decode


def read_sampled(url: str, request: Request, answer_check: AnswerCheck) -> Callable[[bytes], Sampled]:
    """The reader of a completion's answer: see ``http.call``."""

    def read(content: bytes) -> Sampled:
        choice = read_completions(content).choices[0]
        if choice.finish_reason not in ("stop", "length"):
            raise ServerFailed(f"{url} ended a request for the reason {choice.finish_reason[:100]}")
        sampled = Sampled(
            response_ids=array("i", choice.token_ids),
            logp=array("d", choice.logprobs.token_logprobs),
            finished=choice.finish_reason == "stop",
        )
        return answer_check.check(request, sampled, choice.prompt_token_ids)

    return read


def max_answer_bytes(request: Request) -> int:
    """More than any answer to this request takes."""
    return 64 * KIB + BYTES_PER_TOKEN * (len(request.prompt_ids) + request.max_new_tokens)
