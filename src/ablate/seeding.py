"""Seeds derived from what they are for, so that no stream depends on how often another was used."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a 31-bit seed that depends on every part and on their order.

    Args:
        parts: what the stream is for, such as ``(run_seed, "rollout", step, problem_id, sample)``.

    31 bits because every consumer (vLLM, numpy, torch, Python) accepts them.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & 0x7FFF_FFFF
