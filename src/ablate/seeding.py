"""Seeds derived from their purpose, so that no random stream depends on how often another one was used."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a 31-bit seed that depends on every part and on their order.

    Args:
        parts: the purpose of the stream, such as ``(run_seed, "rollout", step, problem_id, sample)``.

    The seed has 31 bits because every consumer (vLLM, numpy, torch, Python) accepts that many.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & 0x7FFF_FFFF
