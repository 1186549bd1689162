"""The fork server: one warm interpreter per worker, alone in a bubblewrap container.

The server forks a program process for each rollout, which compiles the program and forks a test process for each test.
Only the test process runs code of the program.

Commands arrive on one SOCK_SEQPACKET socket together with file descriptors. Inputs and outputs travel only in memory
files that the supervisor made, so neither the server nor the program process ever holds the text of a test.
"""

from __future__ import annotations

import _socket  # not socket: that module's pages would be copied for every test
import fcntl
import gc
import json
import os
import resource
import signal
import sys
import time
import types
import warnings
from functools import partial

import ending
import kernel
import plain
import program
import syscall_filter
import usage
import walls
import watch
from test_report import COMPILED_TOO_LONG

COMPILE_MARGIN_S = 2.0
MAX_MESSAGE = 65536
LOWEST_OWN = 64  # number of a descriptor of this process, away from those that a test needs
ROOM_FOR_DESCRIPTORS = _socket.CMSG_SPACE(3 * 4)


def receive(channel: _socket.socket) -> tuple[bytes, list[int]]:
    message, controls, _, _ = channel.recvmsg(MAX_MESSAGE, ROOM_FOR_DESCRIPTORS)
    if not message:
        os._exit(0)  # the supervisor is gone
    return message, [number for _, _, numbers in controls for number in memoryview(numbers).cast("i")]


def send(channel: _socket.socket, **answer: object) -> None:
    channel.send(json.dumps(answer).encode())


def serve(channel: _socket.socket, group: int | None) -> None:
    """Start one program process per rollout, one at a time; report a process that died without an answer."""
    modules: dict[tuple[str, str | None], tuple[types.ModuleType, frozenset[str]]] = {}
    birth = calls_of_birth()
    send(channel, ready=True)
    while True:
        message, descriptors = receive(channel)
        limits = json.loads(message)
        source = os.fdopen(descriptors[0], "rb").read().decode("utf-8", "surrogatepass")
        kind = limits["mode"], limits["prelude"]
        if kind not in modules:  # once per server, because running a prelude costs more than a small test
            module = program.fresh_module(*kind)
            modules[kind] = module, plain.suspects_in(module)
            freeze()
        child = fork_into_new_namespace(birth)
        if child == 0:
            enclose()
            program_process(channel, limits, source, *modules[kind], group)
            os._exit(0)
        del source
        _, status = os.waitpid(child, 0)
        if status:
            send(channel, died=status)


def calls_of_birth() -> list[kernel.Call]:
    """The calls after which the next child of this process is the first process of a new PID namespace."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    # The kernel refuses a second unshare until our children would again be born in our own namespace.
    home = kernel.Call("setns", kernel.libc.setns, (own, kernel.CLONE_NEWPID))
    return [home, kernel.unshare_call(kernel.CLONE_NEWPID)]


def fork_into_new_namespace(birth: list[kernel.Call]) -> int:
    """Fork a process that is the first process of a new PID namespace; ``birth``: see ``calls_of_birth``."""
    kernel.make(birth)
    # os.fork also runs the hooks of threading and random, which cost a third of a small test; a process without threads
    # does not need them.
    return kernel.fork()


def enclose() -> None:
    """Give the rollout its own namespaces: it sees only its own processes, and nothing of it stays."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)
    kernel.mount(b"proc", b"/proc", b"proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def program_process(
    channel: _socket.socket,
    limits: dict,
    source: str,
    module: types.ModuleType,
    suspects: frozenset[str],
    group: int | None,
) -> None:
    """Be a rollout. ``group``: see ``usage.CpuMeter``; ``suspects``: see ``plain.suspects_in``."""
    code, failure = compile_limited(source, limits)
    send(channel, compiled=failure is None, detail=failure)
    if code is None:
        return
    mark = None if plain.is_plain(code, suspects) else ending.Mark()
    if mark is not None:
        module = program.unfrozen(module)
    program.register(module)
    script = source.encode("utf-8", "surrogatepass")
    prepared = program.Prepared(code, module, script, limits, walls.namespaces(limits), mark)
    birth = calls_of_birth()
    while descriptors := receive(channel)[1]:  # the files of a test; without them, no test follows
        meter = usage.CpuMeter(group)
        send(channel, **run_test(channel, prepared, descriptors, birth, meter))


def compile_limited(source: str, limits: dict) -> tuple[types.CodeType | None, str | None]:
    """Compile under the limits of a test, because source text can cost time and memory too.

    A program that exceeds them ends this process: by a signal, or with status ``COMPILED_TOO_LONG``. The kernel
    ignores SIGXCPU for the first process of a namespace, unless a handler is set; Python's own waits for the compiler.
    """
    saved = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS)}
    cpu_s = int(time.process_time() + limits["cpu_s"] + COMPILE_MARGIN_S)
    kernel.exit_on(COMPILED_TOO_LONG)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, saved[resource.RLIMIT_CPU][1]))
    resource.setrlimit(resource.RLIMIT_AS, (limits["address_space_bytes"], saved[resource.RLIMIT_AS][1]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would go to this process's own standard error
            code = compile(source.removeprefix("\ufeff"), walls.PATH, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return None, f"{type(error).__name__}: {error}"[:400]
    for kind, pair in saved.items():
        resource.setrlimit(kind, pair)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    return code, None


def run_test(
    channel: _socket.socket, prepared: program.Prepared, descriptors: list[int], birth: list, meter: usage.CpuMeter
) -> dict:
    """Run one test in a new process and PID namespace; return its report as a row.

    The first process of the namespace is an idle one, because the kernel protects it from signals, and a program that
    ends itself by a signal must end.
    """
    confined, told = walls.pair_for_words()
    kernel.make(birth)
    idle = kernel.start_idle()
    child = kernel.fork()
    if child == 0:
        channel.detach()  # its descriptor is closed soon, and the number may then belong to a file of the program
        program.run(prepared, descriptors, told)
    told.close()
    members = partial(watch.members_of_namespace, idle)
    row = watch.watch(child, confined, prepared.limits, members, meter, descriptors[1:], idle).to_row()
    for descriptor in descriptors:
        os.close(descriptor)
    confined.close()
    return row


def freeze() -> None:
    """Hide all objects from the garbage collector, so that its run in a test copies no page that it shares with us."""
    gc.collect()
    gc.freeze()


def own_number(given: int) -> int:
    """Move a descriptor away from the numbers that a test needs."""
    number = fcntl.fcntl(given, fcntl.F_DUPFD_CLOEXEC, LOWEST_OWN)
    os.close(given)
    return number


def main() -> None:
    channel = _socket.socket(fileno=own_number(int(sys.argv[1])))
    group = own_number(int(sys.argv[2])) if len(sys.argv) > 2 else None
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the verifier's parent may ignore it, and that is inherited
    for device in ["/dev"] if os.path.ismount("/dev") else kernel.DEVICES:
        kernel.make_read_only(device)
    walls.seccomp.append(syscall_filter.load_filter(keeps_children=group is None))
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.set_default_thread_stack(8 << 20)
    program.prepare()
    serve(channel, group)


if __name__ == "__main__":
    main()
