# ruff: noqa: E501 -- programs read best as they are
"""Problems with many right answers: a checker decides, in a sandbox of its own, and three outcomes stay three."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import hostile
import pytest

from ablate.types import Checker, Problem, TestCase, VerdictKind
from ablate.verify import validator
from ablate.verify.verifier import open_verifier

PYTHON = hostile.SUM_CHECKER
KATTIS = """import sys
n = int(open(sys.argv[1]).read())
open(sys.argv[3] + "judgemessage.txt", "w").write("seen")
assert sys.argv[4:] == ["max", "100"]
try:
    a, b = map(int, sys.stdin.read().split())
except ValueError:
    sys.exit(43)
sys.exit(42 if a + b == n and max(a, b) <= 100 else 43)
"""
HELPER = "def good(n, answer):\n    return sum(map(int, answer.split())) == n\n"
WITH_HELPER = "import sys\nfrom helper import good\nsys.exit(42 if good(int(open(sys.argv[1]).read()), sys.stdin.read()) else 43)\n"
CPP = """#include "own.h"
int main(int count, char **names) {
    std::ifstream in(names[1]);
    long long n, a, b; std::string more;
    in >> n;
    if (!(std::cin >> a >> b) || std::cin >> more) return 43;
    return a + b == n ? 42 : 43;
}
"""
OWN = "#include <fstream>\n#include <iostream>\n#include <string>\n"
DECLARED, GOOD = (
    "bool good(long long, long long, long long);\n",
    "bool good(long long a, long long b, long long n) { return a + b == n; }",
)
TESTLIB = """#include <fstream>
int main(int count, char **names) {  // exits as testlib.h does: 0 accepts, 1 is a wrong answer, 3 the checker's own failure
    std::ifstream in(names[1]), answer(names[2]), expected(names[3]);
    long long n, a, b, c, d;
    if (!(in >> n) || !(expected >> c >> d) || c + d != n) return 3;
    if (!(answer >> a >> b)) return 2;
    return a + b == n ? 0 : 1;
}
"""
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="C++ checkers need g++")
EXITS = KATTIS.replace("sys.exit", "__import__('os')._exit")
TWO_PARTS = CPP.replace("return a + b == n ? 42 : 43;", "return good(a, b, n) ? 42 : 43;")
CHECKERS = [
    pytest.param(Checker("python", (("checker.py", PYTHON),)), id="python"),
    pytest.param(Checker("kattis", (("validate.py", KATTIS),), ("max", "100")), id="kattis"),
    pytest.param(Checker("kattis", (("validate.py", WITH_HELPER), ("helper.py", HELPER))), id="kattis of two files"),
    pytest.param(Checker("kattis", (("v.cc", CPP), ("own.h", OWN))), id="kattis in C++", marks=needs_compiler),
    pytest.param(Checker("testlib", (("c.cpp", TESTLIB),)), id="testlib", marks=needs_compiler),
    pytest.param(Checker("kattis", (("validate.py", EXITS),), ("max", "100")), id="kattis with os._exit"),
    pytest.param(
        Checker("kattis", (("v.cc", TWO_PARTS), ("more/good.cc", GOOD), ("own.h", OWN + DECLARED))),
        id="kattis in C++ of two parts",
        marks=needs_compiler,
    ),
]
RIGHT, WRONG = "n = int(input())\nprint(1, n - 1)", "n = int(input())\nprint(1, n)"


@pytest.fixture(scope="module")
def verifier(make_config):
    with open_verifier(replace(make_config(), checker_time_limit_s=10, cache=False, retries=0)) as opened:
        yield opened


@pytest.fixture(scope="module")
def hasty(make_config):
    """For checkers that take for ever."""
    with open_verifier(replace(make_config(), checker_time_limit_s=1, cache=False, retries=0)) as opened:
        yield opened


def problem(checker: Checker | None, **values) -> Problem:
    tests = tuple(TestCase(f"{n}\n", f"0 {n}\n") for n in (5, 10, 77))
    return Problem(
        **{"id": "sum", "statement": "s", "tests": tests, "difficulty": "easy", "checker": checker, **values}
    )


def verdict_of(verifier, checker, program, **values):
    return verifier.submit(problem(checker, **values), program).result()


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_checker_accepts_another_right_answer_and_rejects_a_wrong_one(verifier, checker):
    right, wrong = (verdict_of(verifier, checker, program) for program in (RIGHT, WRONG))
    assert (right.kind, right.num_passed) == (VerdictKind.accepted, 3), right.detail
    assert (wrong.kind, wrong.got) == (VerdictKind.wrong_answer, "1 10\n"), wrong.detail
    assert verdict_of(verifier, None, RIGHT).kind is VerdictKind.wrong_answer
    assert verdict_of(verifier, checker, "1 / 0").kind is VerdictKind.runtime_error


FAILURES = {
    "1 / 0": "ZeroDivisionError",
    "print(": "SyntaxError",
    "pass": "printed no score",
    "print(0)\nprint(1)": "printed no score",
    "print('accepted')": "printed no score",
    "print(1.5)": "printed no score",
    "print('1' * 10**8)": "printed no score",
    "while True: pass": "took more than 3 s",
    "import time\ntime.sleep(99)": "took more than 3 s",
    "import os\nos._exit(0)": "printed no score",
    "import os\nos.kill(os.getpid(), 9)": "signal 9",
    "import os\nos.kill(os.getppid(), 9)\nprint(1)": "session broke",
    "import sys\ngetattr(sys.modules['os'], '_ex' + 'it')(0)": "session broke",
    "import threading\nthreading.Thread(target=print, args=(0,)).start()\nprint(1)": "printed no score",
    "import sys\nsys.exit(3)": "ended with 3",
    "x = [0] * 10**10\nprint(1)": "MemoryError",
    "import sys\nsys.setrecursionlimit(200)\ndef f(n): return f(n + 1)\nf(0)": "RecursionError",
    "import sys\nsys.stdout.close()": "",
    "import os\nos.close(1)\nos.close(0)": "",
    "import socket\nsocket.create_connection(('127.0.0.1', 1))": "ended with 1",
    "open('/etc/passwd')": "ended with 1",
}


@pytest.mark.parametrize("text", FAILURES, ids=lambda text: text[:30])
def test_a_checker_that_does_not_decide_is_an_infrastructure_error_with_its_reason(verifier, hasty, text):
    verifier = hasty if "took more" in FAILURES[text] else verifier
    found = verdict_of(verifier, Checker("python", (("checker.py", text),)), RIGHT)
    assert found.is_infrastructure_error, found
    assert "the checker: " in found.detail
    assert FAILURES[text] in found.detail, found.detail
    assert verdict_of(verifier, CHECKERS[0].values[0], RIGHT).passed  # and the next problem is judged as ever


# Accepts as soon as it finds what it left behind: a file, another checker in its place, or a process that answers.
LEAVES = """#include <fstream>
#include <sys/stat.h>
#include <unistd.h>
int main() {
  struct stat found;
  if (!stat("/tmp/left", &found) || !stat("/tmp/work/left", &found) || !stat("/tmp/more/deep/left", &found)) return 42;
  mkdir("/tmp/more", 0700);
  mkdir("/tmp/more/deep", 0700);
  for (const char *name : {"/tmp/left", "/tmp/more/deep/left"}) std::ofstream(name) << 1;
  unlink("/tmp/checker/compiled");
  std::ofstream("/tmp/checker/compiled") << "#!/bin/sh\\nexit 42\\n";
  chmod("/tmp/checker/compiled", 0755);
  if (!fork()) { setsid(); for (int i = 0; i < 1000; ++i) { usleep(10000); std::ofstream("/tmp/work/left") << 1; } }
  return 43;
}
"""


@needs_compiler
def test_a_compiled_checker_leaves_nothing_for_the_next_program(make_config):
    """Its session goes on with the next program of the problem."""
    leaves = Checker("kattis", (("v.cc", LEAVES),))
    with open_verifier(replace(make_config(workers=1), cache=False, retries=0)) as one:
        kinds = [verdict_of(one, leaves, RIGHT).kind for _ in range(3)]
        assert kinds == [VerdictKind.wrong_answer] * 3
        cpp = CHECKERS[-1].values[0]  # another checker, and the first one again
        assert verdict_of(one, cpp, RIGHT).passed
        assert not verdict_of(one, leaves, RIGHT).passed
        assert verdict_of(one, cpp, RIGHT, memory_limit_mib=256).passed
        assert not verdict_of(one, cpp, WRONG, memory_limit_mib=256).passed


@needs_compiler
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int main() { for (;;); }", "signal"),
        ("int main() { return 7; }", "ended with 7"),
        ("#include <cstdlib>\nint main() { abort(); }", "signal 6"),
        ("int main( {", "does not compile"),
        ('#include "/etc/passwd"\nint main() {}', "No such file"),
        ('#include "testlib.h"\nint main() {}', "testlib.h"),
    ],
)
def test_a_compiled_checker_that_does_not_decide_is_an_infrastructure_error(verifier, hasty, text, said):
    found = verdict_of(hasty if "for (;;)" in text else verifier, Checker("testlib", (("c.cpp", text),)), RIGHT)
    assert found.is_infrastructure_error
    assert said in found.detail or "took more than" in found.detail, found.detail


@pytest.mark.parametrize("name", hostile.AT_CHECKERS)
@pytest.mark.parametrize("checker", CHECKERS[:4])
def test_no_output_that_aims_at_the_checker_is_accepted(verifier, checker, name):
    assert not verdict_of(verifier, checker, hostile.AT_CHECKERS[name]).passed
    assert verdict_of(verifier, checker, RIGHT).passed


def test_what_a_checker_leaves_behind_does_not_reach_the_next_answer(verifier):
    leaves = "import os, builtins\nif os.path.exists('mine') or hasattr(builtins, 'mine') or os.listdir('feedback'): print(0)\nelse: print(1)\nopen('mine', 'w')\nopen('feedback/mine', 'w')\nopen('printed', 'a')\nglobals()['mine'] = 1"
    assert verdict_of(verifier, Checker("python", (("checker.py", leaves),)), RIGHT).passed
    marked = "import builtins\nprint(int(not hasattr(builtins, 'seen')))\nbuiltins.seen = 1\n"
    one = tuple(problem(None).tests[:1])
    for _ in range(2):  # a session belongs to one program
        assert verdict_of(verifier, Checker("python", (("checker.py", marked),)), RIGHT, tests=one).passed


def test_neither_the_programs_text_nor_its_files_are_where_the_checker_runs(verifier):
    looks = "import os, sys\nfound = [name for name in os.listdir('/tmp') if name not in ('checker', 'work', 'main.py')]\nprint(int(not found and 'SECRET' not in open('/tmp/main.py').read()))\n"
    program = "SECRET = 1\nopen('/tmp/secret', 'w').write('x')\n" + RIGHT
    assert verdict_of(verifier, Checker("python", (("checker.py", looks),)), program).passed


def test_programs_that_read_and_write_files(verifier):
    reads = "n = int(open('input.txt').read())\nwith open('output.txt', 'w') as file:\n    print(0, n, file=file)\nprint('a word on standard output')"
    assert verdict_of(verifier, None, reads, input_mode="file").passed
    assert verdict_of(verifier, CHECKERS[0].values[0], reads.replace("0, n", "2, n - 2"), input_mode="file").passed
    assert verdict_of(verifier, None, "print(0, input())", input_mode="file").kind is VerdictKind.wrong_answer
    assert verdict_of(verifier, None, reads).kind is VerdictKind.runtime_error


@pytest.mark.parametrize(
    ("flags", "answer", "expected", "accepted"),
    [
        ((), b"YES\n\n1  2", "yes 1 2\n", True),
        (("case_sensitive",), b"YES", "yes", False),
        (("space_change_sensitive",), b"1  2\n", "1 2\n", False),
        (("space_change_sensitive",), b"1 2\n", "1 2\n", True),
        ((), b"0.5", "0.50", False),
        (("float_tolerance", "1e-6"), b"0.5000001", "0.50", True),
        (("float_tolerance", "1e-6"), b"1e400", "7", False),
        (("float_tolerance", "1e-6"), b"nan", "7", False),
        (("float_absolute_tolerance", "0.1"), b"1000.2", "1000", False),
        (("float_relative_tolerance", "0.1"), b"1000.2", "1000", True),
        (("float_relative_tolerance", "0.1"), b"0.05", "0", False),
        (("float_absolute_tolerance", "0.1"), b"0.05", "0", True),
        (("float_tolerance", "0.1"), b"0.05", "0", True),
        (("float_tolerance", "0.1"), b"1050", "1000", True),
        (("float_absolute_tolerance", "0.1", "float_relative_tolerance", "1e-9"), b"0.05", "0", True),
        (("float_absolute_tolerance", "1e-9", "float_relative_tolerance", "0.1"), b"1050", "1000", True),
        (("float_absolute_tolerance", "1e-9", "float_relative_tolerance", "1e-9"), b"1050", "1000", False),
        (("float_tolerance", "1e-9", "float_absolute_tolerance", "0.1"), b"1050", "1000", False),
        (("float_tolerance", "-1"), b"0.5", "0.50", False),
        (("float_tolerance", "0"), b"0.5", "0.50", True),
        (("float_tolerance", "1e-6"), b"0.5 1", "0.5", False),
        (("float_tolerance", "1e-6"), b"", "0.5", False),
        (("float_tolerance", "1e-6"), b"abc", "ABC", True),
    ],
)
def test_the_validator_of_packages_without_one_of_their_own(flags, answer, expected, accepted):
    assert validator.accepts(validator.rules_of(flags), answer, expected) is accepted


@pytest.mark.parametrize("flags", [("float_tolerance",), ("float_tolerance", "x"), ("tolerant",)])
def test_flags_that_the_validator_does_not_have_are_named(verifier, flags):
    with pytest.raises(ValueError, match=r"float_tolerance|tolerant"):
        validator.rules_of(flags)
    assert verdict_of(verifier, Checker("default", (), flags), RIGHT).is_infrastructure_error


def test_a_checker_travels_through_json():
    checker = CHECKERS[2].values[0]
    assert Checker.from_json(checker.to_json()) == checker
    assert json.loads(checker.to_json())["files"].keys() == {"validate.py", "helper.py"}
