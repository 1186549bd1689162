# ruff: noqa: PTH101, PTH103, PTH106, PTH108, PTH112, PTH114, PTH120, PTH123, PTH208, SIM105, SIM115
# pathlib would be one more import in every session.
"""A session of one checker, as a program in a sandbox of its own: it judges answers until its input ends.

Standard input is a sequence of frames, each 8 bytes of length and then that many bytes. The first frame is JSON: the
checker's files, how they are called, and limits. The second is a compiled checker, or empty. Then three frames per
answer: the test's input, its expected output, and the output to judge. Standard output gets one line of JSON per
answer: how the checker ended, and what it printed.

All answers of a session are of one program. A Python checker of one file runs in this process, with names of its own
for every answer; another one and a compiled one run in a process of their own. With a compiled checker the session may
go on with the answers of another program: the frame of length ``RESET`` comes before them, and has no content.
"""

import binascii
import fcntl
import gc
import json
import os
import resource
import select
import signal
import sys
import time
import types

import kernel

HOME, WORK = "/tmp/checker", "/tmp/work"
NAMES = ("input.txt", "correct_output.txt", "solution_output.txt")
FEEDBACK, ANSWER, PRINTED = f"{WORK}/feedback", f"{WORK}/{NAMES[2]}", f"{WORK}/printed"
BINARY = f"{HOME}/compiled"
SAID_BYTES = 4096
LOWEST_OWN = 64  # number of a descriptor of the session
RESET = (1 << 64) - 1


class Line:
    """The session's end of its line to the judge, away from the descriptors that a checker uses."""

    def __init__(self):
        self.incoming, self.outgoing = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, LOWEST_OWN) for number in (0, 1))

    def read_exactly(self, size):
        pieces = []
        while size:
            piece = os.read(self.incoming, min(size, 1 << 20))
            if not piece:
                return None
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def frame(self):
        header = self.read_exactly(8)
        size = None if header is None else int.from_bytes(header, "big")
        return size if size in (None, RESET) else self.read_exactly(size)

    def say(self, **reply):
        data = json.dumps(reply).encode() + b"\n"
        while data:
            data = data[os.write(self.outgoing, data) :]


def write(path, content):
    with open(path, "wb", buffering=0) as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]


def set_up(checker, binary):
    """Put the checker's files in place; return its code, or None for a compiled one."""
    for name, text in checker["files"].items():
        os.makedirs(os.path.dirname(f"{HOME}/{name}"), exist_ok=True)
        write(f"{HOME}/{name}", text.encode("utf-8", "surrogatepass"))
    if binary:
        write(BINARY, binary)
        os.chmod(BINARY, 0o755)
        return None
    sys.path.insert(0, HOME)
    return compile(checker["files"][checker["main"]], f"{HOME}/{checker['main']}", "exec", dont_inherit=True)


def empty(directory):
    """Remove a directory; shutil would be an import of many milliseconds."""
    for place, names, files in os.walk(directory, topdown=False):
        for name in files:
            os.unlink(f"{place}/{name}")
        for name in names:
            (os.unlink if os.path.islink(f"{place}/{name}") else os.rmdir)(f"{place}/{name}")
    if os.path.isdir(directory):
        os.rmdir(directory)


def forget():
    """End every process that a checker has started, and remove every file; raise OSError where that fails."""
    try:
        while True:
            os.kill(-1, signal.SIGKILL)  # all but this process and the first of its namespace
            os.waitpid(-1, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    os.chdir("/")
    for name in os.listdir("/tmp"):
        path = f"/tmp/{name}"
        empty(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


def lay_out(contents):
    """Put the texts of one answer in place, and remove whatever a checker left there before."""
    if not os.path.isdir(WORK) or len(os.listdir(WORK)) != len(NAMES) + 2 or os.listdir(FEEDBACK):
        empty(WORK)
        os.makedirs(FEEDBACK)
    os.chdir(WORK)
    for name, content in zip(NAMES, contents, strict=True):
        descriptor = os.open(f"{WORK}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.close(descriptor)


def redirect(checker):
    """Lead standard input, output and error to the answer, to what is printed, and nowhere."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    given = os.open(ANSWER, os.O_RDONLY) if checker["answer_on_stdin"] else os.dup(nowhere)
    printed = os.open(PRINTED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, descriptor in enumerate((given, printed, nowhere)):
        os.dup2(descriptor, number)
        os.close(descriptor)


def run_python(checker, code):
    """Run the checker as a fresh ``__main__``; return its exit status."""
    redirect(checker)
    sys.argv = [f"{HOME}/{checker['main']}", *checker["arguments"]]
    text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n", "closefd": False}
    sys.stdin = sys.__stdin__ = open(0, **text)
    printed = sys.stdout = sys.__stdout__ = open(1, "w", **text)
    sys.stderr = sys.__stderr__ = open(2, "w", **text)
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    module.__file__ = sys.argv[0]
    try:
        exec(code, module.__dict__)
        status = 0
    except SystemExit as stop:
        status = 0 if stop.code is None else int(stop.code) & 0xFF if isinstance(stop.code, int) else 1
    except BaseException as error:
        status = 1
        printed.write(f"\n{type(error).__name__}: {error}"[:300])
    for stream in (printed, sys.stdout):
        if stream is not None and not stream.closed:
            stream.flush()
    return status


def in_a_child(checker, code):
    """Fork a process that runs the checker; it has no descriptor of the session."""
    child = kernel.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        os.closerange(3, 1024)
        status = run_python(checker, code)
    finally:
        os._exit(status)


def spawned(checker):
    """Start a compiled checker."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, ANSWER if checker["answer_on_stdin"] else "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, PRINTED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    ]
    environment = {"PATH": "/python/bin", "LANG": "C.UTF-8"}
    return os.posix_spawn(BINARY, [BINARY, *checker["arguments"]], environment, file_actions=actions, setsid=True)


def ended(checker, child):
    """Wait for a child; return how it ended and whether it had to be stopped."""
    limit = int(checker["cpu_s"]) + 1
    resource.prlimit(child, resource.RLIMIT_CPU, (limit, limit))
    deadline = time.monotonic() + checker["wall_s"]
    try:
        handle = os.pidfd_open(child)
    except OSError:  # gVisor may lack the call
        while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) and time.monotonic() < deadline:
            time.sleep(0.002)
        stopped = time.monotonic() >= deadline
    else:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        stopped = not poll.poll(checker["wall_s"] * 1000)
        os.close(handle)
    for kill, number in ((os.kill, child), (os.killpg, child)):  # and what it has started
        try:
            kill(number, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return os.waitpid(child, 0)[1], stopped


def judge(checker, code):
    """Judge the answer that is laid out; return a reply."""
    if checker["in_session"]:
        status, stopped = run_python(checker, code) << 8, False
    else:
        status, stopped = ended(checker, spawned(checker) if code is None else in_a_child(checker, code))
    with open(PRINTED, "rb") as file:
        printed = file.read(SAID_BYTES + 1)
    return {"status": status, "stopped": stopped, "printed": binascii.b2a_base64(printed, newline=False).decode()}


def main():
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # a child may not open the descriptors of this process
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)  # what a checker starts is this process's to wait for
    line = Line()
    opening = line.frame()
    if opening is None:
        return
    checker = json.loads(opening)
    binary = line.frame()
    try:
        code = set_up(checker, binary)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError) as error:
        line.say(broken=f"{type(error).__name__}: {error}"[:300])
        return
    gc.freeze()
    while (given := line.frame()) is not None:
        if given == RESET:
            forget()
            set_up(checker, binary)
            continue
        lay_out((given, line.frame(), line.frame()))
        line.say(**judge(checker, code))


main()
