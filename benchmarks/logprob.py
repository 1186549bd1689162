"""Peak memory and time of the fused log-probability against the naive one: python benchmarks/logprob.py

Forward and backward over a vocabulary of 151,936 words (Qwen3's), each form in a process of its own; memory is the
growth of the peak resident set over what the inputs need. The naive form is not run where it would need more than
--naive-limit-gib: there its memory is carried on linearly from the longest run, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

VOCAB = 151_936
GIB = 2**30
NAIVE_BYTES_PER_LOGIT = 16  # logits, their log-softmax and two gradients of that size, fp32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 4096, 8192])
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--chunk-tokens", type=int, default=512)
    parser.add_argument("--naive-limit-gib", type=float, default=12.0)
    parser.add_argument("--json", help="also write the measurements to this file")
    parser.add_argument("--measure", choices=["naive", "fused"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.tokens[0], options.hidden_size, options.chunk_tokens)))
        return
    rows = [compare(num_tokens, options) for num_tokens in options.tokens]
    print_table(carry_on(rows), options)
    if options.json:
        with open(options.json, "w") as file:  # noqa: PTH123
            json.dump(rows, file, indent=1)


def compare(num_tokens: int, options: argparse.Namespace) -> dict:
    row = {"tokens": num_tokens, "fused": in_own_process("fused", num_tokens, options), "naive": None}
    if num_tokens * VOCAB * NAIVE_BYTES_PER_LOGIT <= options.naive_limit_gib * GIB:
        row["naive"] = in_own_process("naive", num_tokens, options)
    return row


def in_own_process(form: str, num_tokens: int, options: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--measure", form, "--tokens", str(num_tokens)]
    command += ["--hidden-size", str(options.hidden_size), "--chunk-tokens", str(options.chunk_tokens)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout)


def measure(form: str, num_tokens: int, hidden_size: int, chunk_tokens: int) -> dict:
    import torch

    from ablate.trainer.model.logprobs import response_logp_entropy

    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(num_tokens, hidden_size, generator=generator, requires_grad=True)
    weight_VD = torch.randn(VOCAB, hidden_size, generator=generator, requires_grad=True)
    targets = torch.randint(VOCAB, (num_tokens,), generator=generator)

    def naive():
        logp_all = torch.log_softmax(hidden @ weight_VD.t(), dim=-1)
        return logp_all.gather(-1, targets[:, None])[:, 0]

    def fused():
        return response_logp_entropy(
            hidden,
            weight_VD,
            targets,
            mask=None,
            vocab_size=VOCAB,
            temperature=1.0,
            chunk_tokens=chunk_tokens,
            tp_group=None,
        )[0]

    before, start = peak_bytes(), time.perf_counter()
    logp = {"naive": naive, "fused": fused}[form]()
    forward_s = time.perf_counter() - start
    logp.sum().backward()
    return {
        "peak_gib": (peak_bytes() - before) / GIB,
        "forward_s": forward_s,
        "total_s": time.perf_counter() - start,
        "logp_sum": logp.sum().item(),
        "gradient_norm": weight_VD.grad.norm().item(),
    }


def peak_bytes() -> int:
    with open("/proc/self/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def carry_on(rows: list[dict]) -> list[dict]:
    measured = [row for row in rows if row["naive"]]
    for row in rows:
        if measured and not row["naive"]:
            longest = measured[-1]
            scale = row["tokens"] / longest["tokens"]
            row["naive"] = {key: longest["naive"][key] * scale for key in ("peak_gib", "total_s")} | {
                "carried_on": True
            }
    return rows


def print_table(rows: list[dict], options: argparse.Namespace) -> None:
    print(f"{VOCAB} words, hidden size {options.hidden_size}, chunks of {options.chunk_tokens} tokens, fp32, CPU")
    print("| tokens | naive GiB | fused GiB | ratio | naive s | fused s | ratio |\n|---|---|---|---|---|---|---|")
    for row in rows:
        naive, fused = row["naive"], row["fused"]
        mark = "*" if naive.get("carried_on") else ""
        memory = (
            f"{naive['peak_gib']:.2f}{mark} | {fused['peak_gib']:.2f} | {fused['peak_gib'] / naive['peak_gib']:.3f}"
        )
        duration = f"{naive['total_s']:.1f}{mark} | {fused['total_s']:.1f} | {fused['total_s'] / naive['total_s']:.2f}"
        print(f"| {row['tokens']} | {memory} | {duration} |")
    if any(row["naive"].get("carried_on") for row in rows):
        print("* not run: carried on linearly from the longest naive run")


if __name__ == "__main__":
    main()
