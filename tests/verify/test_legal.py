# ruff: noqa: E501 -- programs read best as they are
"""Every legal way to read, compute and write must pass: each program here is right under ``python prog.py``."""

from __future__ import annotations

import pytest

from ablate.types import Problem, TestCase, VerdictKind

SUM = ("3 4\n", "7\n")
LINES = ("3\n10 20\n30 40\n50 60\n", "30\n70\n110\n")

# name: (program, (input, expected output))
STDIN = {
    "input": ("a, b = map(int, input().split())\nprint(a + b)", SUM),
    "iterate over sys.stdin": ("import sys\nfor line in sys.stdin:\n    print(sum(map(int, line.split())))", SUM),
    "sys.stdin.buffer twice": (
        "import sys\nn = int(sys.stdin.buffer.readline())\n"
        "for _ in range(n):\n    print(sum(map(int, sys.stdin.buffer.readline().split())))",
        LINES,
    ),
    "input, then sys.stdin.read": (
        "import sys\nn = int(input())\nrest = sys.stdin.read().split()\n"
        "for i in range(n):\n    print(int(rest[2 * i]) + int(rest[2 * i + 1]))",
        LINES,
    ),
    "sys.stdin.readline, then input": (
        "import sys\nn = int(sys.stdin.readline())\nfor _ in range(n):\n    print(sum(map(int, input().split())))",
        LINES,
    ),
    "sys.stdin.readlines": ("import sys\nprint(sum(map(int, sys.stdin.readlines()[0].split())))", SUM),
    "input = sys.stdin.readline": (
        "import sys\ninput = sys.stdin.readline\na, b = map(int, input().split())\nprint(a + b)",
        SUM,
    ),
    "open(0)": ("a, b = map(int, open(0).read().split())\nprint(a + b)", SUM),
    "open(0) iterated": ("n, *rows = open(0)\nfor row in rows:\n    print(sum(map(int, row.split())))", LINES),
    "open /dev/stdin": ("with open('/dev/stdin') as f:\n    print(sum(map(int, f.read().split())))", SUM),
    "open /proc/self/fd/0": ("print(sum(map(int, open('/proc/self/fd/0').read().split())))", SUM),
    "os.read": ("import os\nprint(sum(map(int, os.read(0, 1 << 20).split())))", SUM),
    "os.read of fstat's size": (
        "import os, io\ninput = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\nprint(sum(map(int, input().split())))",
        SUM,
    ),
    "mmap of standard input": (
        "import mmap\nprint(sum(map(int, mmap.mmap(0, 0, prot=mmap.PROT_READ)[:].split())))",
        SUM,
    ),
    "fileinput": ("import fileinput\nfor line in fileinput.input():\n    print(sum(map(int, line.split())))", SUM),
    "try input until EOFError": (
        "total = 0\ntry:\n    while True:\n        total += sum(map(int, input().split()))\nexcept EOFError:\n    print(total)",
        SUM,
    ),
    "os.write": ("import os\nos.write(1, str(sum(map(int, input().split()))).encode())", SUM),
    "sys.stdout.buffer": (
        "import sys\nsys.stdout.buffer.write(b'%d' % sum(map(int, sys.stdin.buffer.read().split())))",
        SUM,
    ),
    "an output file never closed": ("f = open(1, 'w')\nf.write(str(sum(map(int, input().split()))))", SUM),
    "open /dev/stdout": ("f = open('/dev/stdout', 'w')\nprint(sum(map(int, input().split())), file=f)", SUM),
    "a replaced sys.stdout": (
        "import sys, io\nsys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, 'w')))\n"
        "print(sum(map(int, input().split())))",
        SUM,
    ),
    "buffered output flushed by atexit": (
        "import atexit, io, os\nout = io.BytesIO()\natexit.register(lambda: os.write(1, out.getvalue()))\n"
        "out.write(str(sum(map(int, input().split()))).encode())",
        SUM,
    ),
    "output from __del__": (
        "class A:\n    def __init__(self, n): self.n = n\n    def __del__(self): print(self.n)\n"
        "a = A(sum(map(int, input().split())))",
        SUM,
    ),
    "main guard": (
        "def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()",
        SUM,
    ),
    "main guard not last": (
        "if __name__ == '__main__':\n    a, b = map(int, input().split())\nprint(a + b)",
        SUM,
    ),
    "top-level global": ("global a\na = sum(map(int, input().split()))\nprint(a)", SUM),
    "global in a function": (
        "def read():\n    global a, b\n    a, b = map(int, input().split())\nread()\nprint(a + b)",
        SUM,
    ),
    "exit": ("print(sum(map(int, input().split())))\nexit()", SUM),
    "quit": ("print(sum(map(int, input().split())))\nquit(0)", SUM),
    "sys.exit": ("import sys\nprint(sum(map(int, input().split())))\nsys.exit()", SUM),
    "raise SystemExit": ("print(sum(map(int, input().split())))\nraise SystemExit", SUM),
    "os._exit": (
        "import os, sys\nprint(sum(map(int, input().split())))\nsys.stdout.flush()\nos._exit(0)",
        SUM,
    ),
    "a daemon-less thread that outlives main": (
        "import threading, time\na, b = map(int, input().split())\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print(a + b))).start()",
        SUM,
    ),
    "a thread with a big stack": (
        "import sys, threading\nsys.setrecursionlimit(1 << 20)\nthreading.stack_size(256 << 20)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "def main(): print(f(100000) - 100000 + sum(map(int, input().split())))\n"
        "t = threading.Thread(target=main)\nt.start()\nt.join()",
        SUM,
    ),
    "recursion 50 000 deep": (
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "print(f(50000) - 50000 + sum(map(int, input().split())))",
        SUM,
    ),
    "recursion 50 000 deep without a limit set": (
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(50000) - 50000 + sum(map(int, input().split())))",
        SUM,
    ),
    "recursion through C code": (
        "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10**6)\n@lru_cache(None)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(40000) - 40000 + sum(map(int, input().split())))",
        SUM,
    ),
    "raising the stack limit": (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 28, resource.RLIM_INFINITY))\n"
        "print(sum(map(int, input().split())))",
        SUM,
    ),
    "integers of 5000 digits": ("n = int(input())\nprint(n + 1)", ("9" * 5000 + "\n", "1" + "0" * 5000 + "\n")),
    "unset annotations": ("from __future__ import annotations\nx: int = sum(map(int, input().split()))\nprint(x)", SUM),
    "dataclass in __main__": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n    b: int\n"
        "p = P(*map(int, input().split()))\nprint(p.a + p.b)",
        SUM,
    ),
    "pickle of a class of __main__": (
        "import pickle\nclass P:\n    def __init__(self, n): self.n = n\n"
        "print(pickle.loads(pickle.dumps(P(sum(map(int, input().split()))))).n)",
        SUM,
    ),
    "import __main__": ("import __main__\nn = sum(map(int, input().split()))\nprint(__main__.n)", SUM),
    "eval and exec": ("exec('n = ' + '+'.join(input().split()))\nprint(eval('n'))", SUM),
    "asyncio": (
        "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    print(sum(map(int, input().split())))\n"
        "asyncio.run(main())",
        SUM,
    ),
    "multiprocessing": (
        "from multiprocessing import Pool\ndef double(x): return 2 * x\n"
        "if __name__ == '__main__':\n    with Pool(2) as pool:\n"
        "        print(sum(pool.map(double, map(int, input().split()))) // 2)",
        SUM,
    ),
    "os.fork and a pipe": (
        "import os\nr, w = os.pipe()\nif os.fork() == 0:\n    os.write(w, str(sum(map(int, input().split()))).encode())\n"
        "    os._exit(0)\nos.wait()\nprint(os.read(r, 100).decode())",
        SUM,
    ),
    "a thread pool": (
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as pool:\n"
        "    print(sum(pool.map(int, input().split())))",
        SUM,
    ),
    "multiprocessing by spawn": (
        "import multiprocessing as mp\ndef f(x): return x\nif __name__ == '__main__':\n"
        "    with mp.get_context('spawn').Pool(1) as pool:\n        print(sum(pool.map(f, map(int, input().split()))))",
        SUM,
    ),
    "a process pool": (
        "from concurrent.futures import ProcessPoolExecutor\ndef f(x): return x\nif __name__ == '__main__':\n"
        "    with ProcessPoolExecutor(2) as pool:\n        print(sum(pool.map(f, map(int, input().split()))))",
        SUM,
    ),
    "an interpreter of its own": (
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(sum(map(int, input().split())))'], "
        "capture_output=True, text=True).stdout)",
        SUM,
    ),
    "started again with a larger stack": (
        "import os, sys\nif len(sys.argv) == 1: os.execv(sys.executable, [sys.executable, sys.argv[0], 'again'])\n"
        "print(sum(map(int, input().split())))",
        SUM,
    ),
    "output from a finally at the very end": (
        "def g():\n    try:\n        yield\n    finally:\n        print(sum(map(int, input().split())))\nit = g()\nnext(it)",
        SUM,
    ),
    "a closed standard output": (
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.stdout.close()",
        SUM,
    ),
    "detached and rewrapped streams": (
        "import io, sys\nsys.stdin = io.TextIOWrapper(sys.stdin.detach(), encoding='ascii')\n"
        "sys.stdout.reconfigure(line_buffering=True)\nprint(sum(map(int, sys.stdin.readline().split())))",
        SUM,
    ),
    "its own source": (
        "import inspect\ndef f(): return 1\nassert 'return 1' in inspect.getsource(f)\nprint(sum(map(int, input().split())))",
        SUM,
    ),
    "a lambda in a thread with local state": (
        "import threading\nlocal = threading.local()\nlocal.n = 0\nlock = threading.RLock()\n"
        "with lock: print(sum(map(int, input().split())) + local.n if threading.current_thread() is threading.main_thread() else 0)",
        SUM,
    ),
    "a timer": (
        "import threading\na, b = map(int, input().split())\nthreading.Timer(0.01, lambda: print(a + b)).start()",
        SUM,
    ),
    "a temporary file": (
        "import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n    f.write(input())\n    f.seek(0)\n"
        "    print(sum(map(int, f.read().split())))",
        SUM,
    ),
    "a signal handler of its own": (
        "import signal, time\ndef late(*_): print(sum(map(int, input().split())))\n"
        "signal.signal(signal.SIGALRM, late)\nsignal.setitimer(signal.ITIMER_REAL, 0.02)\ntime.sleep(0.1)",
        SUM,
    ),
    "a lot on standard error": (
        "import sys\nfor _ in range(40): sys.stderr.write('x' * 100000)\nprint(sum(map(int, input().split())))",
        SUM,
    ),
    "its own file": ("print(sum(map(int, input().split())), end=''); open(__file__).read()", SUM),
    "a byte order mark": ("\ufeffprint(sum(map(int, input().split())))", SUM),
    "Windows line ends": ("a, b = map(int, input().split())\r\nprint(a + b)\r\n", SUM),
    "names of LiveCodeBench's prelude": (
        "def f(xs: List[int]) -> Optional[int]:\n    d = defaultdict(int)\n    heapify(xs)\n    return reduce(add, xs)\n"
        "print(f(list(map(int, stdin.readline().split()))) + comb(2, 3))",
        SUM,
    ),
    "builtins are still builtins": (
        "import builtins\nold = builtins.print\nbuiltins.print = lambda *a: old(*[x + 1 for x in a])\n"
        "print(sum(map(int, input().split())) - 1)",
        SUM,
    ),
    "builtin pow, sum and open survive star imports": ("print(pow(sum(map(int, input().split())), 1, 100))", SUM),
    "random, seeded": (
        "import random\nrandom.seed(7)\nx = random.random()\nrandom.seed(7)\n"
        "print(sum(map(int, input().split())) if x == random.random() else 0)",
        SUM,
    ),
    "Unicode": ("print(len(input()))", ("äöü日本\n", "5\n")),
    "bytes that are not UTF-8": (
        "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.readline().strip() and b'7')",
        SUM,
    ),
    "a large output": ("print('\\n'.join(map(str, range(50000))))", ("", "\n".join(map(str, range(50000))))),
    "no trailing newline, extra blanks": ("import sys\nsys.stdout.write('  7   ')", SUM),
    "decimal, fractions, bisect, itertools": (
        "from decimal import Decimal\nfrom fractions import Fraction\na, b = input().split()\n"
        "print(int(Decimal(a) + Decimal(Fraction(b).numerator)))",
        SUM,
    ),
    "memory of 200 MB": ("x = bytearray(200 << 20)\nprint(sum(map(int, input().split())))", SUM),
    "a generator pending at exit": (
        "def g():\n    yield sum(map(int, input().split()))\n    yield 0\nit = g()\nprint(next(it))",
        SUM,
    ),
    "subclassed stdout with flush at exit": (
        "import sys\nfrom io import BytesIO, IOBase\nimport os\n"
        "class Fast(IOBase):\n    def __init__(self):\n        self.buffer = BytesIO()\n"
        "    def write(self, s): self.buffer.write(s.encode())\n"
        "    def flush(self):\n        os.write(1, self.buffer.getvalue()); self.buffer.seek(0); self.buffer.truncate(0)\n"
        "sys.stdout = Fast()\nprint(sum(map(int, sys.stdin.readline().split())))",
        SUM,
    ),
}


@pytest.mark.parametrize("name", STDIN)
def test_a_legal_program_passes(verifier, name):
    program, (text, expected) = STDIN[name]
    verdict = verifier.submit(Problem(name, "", (TestCase(text, expected),) * 2, "easy"), program).result()
    assert verdict.kind is VerdictKind.accepted, verdict


# name: (program, fn_name, input, expected)
FUNCTIONAL = {
    "class Solution": (
        "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b",
        "add",
        "3\n4",
        "7",
    ),
    "a bare function": ("def add(a, b):\n    return a + b", "add", "3\n4", "7"),
    "List without an import": (
        "class Solution:\n    def twice(self, xs: List[int]) -> List[int]:\n        return [2 * x for x in xs]",
        "twice",
        "[1, 2, 3]",
        "[2, 4, 6]",
    ),
    "nested tuples are lists": ("def f(n):\n    return ((1, 2), (n, ()))", "f", "3", "[[1, 2], [3, []]]"),
    "strings": ("def f(s):\n    return s[::-1]", "f", '"a\\u00e9 b"', '"b \\u00e9a"'),
    "True for true": ("def f(n):\n    return n > 2", "f", "3", "true"),
    "None for null": ("def f(n):\n    return None", "f", "3", "null"),
    "a dictionary": ("def f(n):\n    return {n: 'x'}", "f", "3", '{"3": "x"}'),
    "prints in addition to the answer": ("def f(n):\n    print('debug', n)\n    return n", "f", "3", "3"),
    "a main guard that would read": (
        "def f(n):\n    return n\nif __name__ == '__main__':\n    f(int(input()))",
        "f",
        "3",
        "3",
    ),
    "a helper and a global": (
        "MEMO = {}\ndef g(n):\n    return MEMO.setdefault(n, n)\nclass Solution:\n    def f(self, n):\n        return g(n)",
        "f",
        "3",
        "3",
    ),
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\ndef f(n):\n    return P(n).a",
        "f",
        "3",
        "3",
    ),
    "integers of 5000 digits": ("def f(n):\n    return 10**5000 + n", "f", "1", "1" + "0" * 4999 + "1"),
    "integers for whole floats": ("def f(n):\n    return n / 1", "f", "3", "3"),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_a_legal_function_passes(verifier, name):
    program, fn_name, text, expected = FUNCTIONAL[name]
    problem = Problem(name, "", (TestCase(text, expected),), "easy", input_mode="functional", fn_name=fn_name)
    verdict = verifier.submit(problem, program).result()
    assert verdict.kind is VerdictKind.accepted, verdict
