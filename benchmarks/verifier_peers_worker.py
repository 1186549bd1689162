"""One public checker on given programs: runs inside the outer wall of our sandbox, see verifier_peers.py.

Standard input is a job: the checker, its programs and tests. Standard output gets one line of JSON for each program.
An adapter calls the checker's own function that tells whether all tests pass, and copies nothing of it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path[:0] = [path for path in os.environ.get("PEERS", "").split(":") if path]

from benchmarks.conformance.loading import bare, stand_ins  # noqa: E402

Tests = list[dict[str, str]]
Check = Callable[[str, Tests, str | None, int], bool]  # program, tests, name of the function, seconds a test


def in_outs(tests: Tests, fn_name: str | None) -> dict[str, Any]:
    """The form that LiveCodeBench and its descendants share."""
    found = {"inputs": [test["input"] for test in tests], "outputs": [test["output"] for test in tests]}
    return found | ({"fn_name": fn_name} if fn_name else {})


def with_type(tests: Tests, fn_name: str | None) -> list[dict[str, Any]]:
    kind = {"testtype": "functional", "metadata": {"func_name": fn_name}} if fn_name else {"testtype": "stdin"}
    return [test | kind for test in tests]


def livecodebench() -> Check:
    module = importlib.import_module("lcb_runner.evaluation.compute_code_generation_metrics")

    def check(program: str, tests: Tests, fn_name: str | None, limit_s: int) -> bool:
        sample = {"input_output": json.dumps(in_outs(tests, fn_name))}
        results, _ = module.evaluate_generations_by_problem(([program], sample, False, limit_s))
        return all(result is True for result in results[0])

    return check


def prime_code() -> Check:
    """What compute_score calls with 5 s a test, and one second more for all tests of a program."""
    bare("verl", "verl.utils", "verl.utils.reward_score")
    module = importlib.import_module("verl.utils.reward_score.prime_code")

    def check(program: str, tests: Tests, fn_name: str | None, limit_s: int) -> bool:
        results, _ = module.apps_check_correctness(in_outs(tests, fn_name), program, timeout=limit_s, debug=False)
        return all(result is True for result in results)

    return check


def skyrl_gym() -> Check:
    """What compute_score calls with 6 s a test."""
    importlib.import_module("pandas")  # which every program imports here; a trainer has it in memory
    bare("skyrl_gym", "skyrl_gym.envs", "skyrl_gym.envs.lcb")
    module = importlib.import_module("skyrl_gym.envs.lcb.livecodebench")
    return lambda program, tests, fn_name, limit_s: module.lcb_check_correctness(
        with_type(tests, fn_name), program, limit_s
    )


def rllm() -> Check:
    """What it calls for the sets that come with tests, with 6 s a test."""
    importlib.import_module("pandas")  # as for SkyRL-gym
    bare("rllm", "rllm.rewards", "rllm.rewards.code_utils")
    stand_ins("rllm.tools", "rllm.rewards.code_utils.kodcode", "rllm.rewards.code_utils.firejail_exec")
    module = importlib.import_module("rllm.rewards.code_reward")

    def check(program: str, tests: Tests, fn_name: str | None, limit_s: int) -> bool:
        return module.lcb_check_correctness_v2(with_type(tests, fn_name), program, limit_s)[0]

    return check


def open_instruct() -> Check:
    """A function is tested by assertions, as its data sets do it."""
    os.chdir("/tmp")  # it makes a cache where it is imported
    bare("open_instruct", "open_instruct.code_utils")
    stand_ins("open_instruct.logger_utils")
    module = importlib.import_module("open_instruct.code_utils.code_utils")

    def check(program: str, tests: Tests, fn_name: str | None, limit_s: int) -> bool:
        if fn_name:
            calls = [
                f"assert {fn_name}({', '.join(test['input'].split(chr(10)))}) == {test['output']}" for test in tests
            ]
            return all(module.get_successful_tests_fast(program, calls, limit_s)[0])
        return all(module.get_successful_tests_stdio(program, tests, limit_s)[0])

    return check


CHECKERS = {each.__name__: each for each in (livecodebench, prime_code, skyrl_gym, rllm, open_instruct)}


def cpu_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    job = json.load(sys.stdin)
    said, sys.stdout = sys.stdout, sys.stderr  # a checker may print
    check = CHECKERS[job["checker"]]()
    for entry in job["programs"]:
        started, used_s = time.perf_counter(), cpu_s()
        passed, error = False, None
        try:
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
                passed = bool(check(entry["program"], entry["tests"], entry["fn_name"], job["limit_s"]))
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"[:200]
        answer = {"passed": passed, "error": error, "wall_s": time.perf_counter() - started, "cpu_s": cpu_s() - used_s}
        print(f"{job['token']} {json.dumps(answer)}", file=said, flush=True)


if __name__ == "__main__":
    main()
