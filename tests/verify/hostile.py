# ruff: noqa: E501 -- programs read best as they are
"""Hostile programs for the sandbox under test, each with its right outcome. Bounded, so that two cores survive them.

CONTAINED programs try one thing and print ``contained`` when it failed; the verifier must accept them. EXHAUSTING
programs use up a resource or deceive; the verifier must answer with one of the named kinds.
"""

from __future__ import annotations

SYSCALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def syscall(*args):
    return libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
"""

BURN = """
import os, time
ended, end = os.pipe()
def burn(cpu_s):
    start = time.process_time()
    while time.process_time() - start < cpu_s: pass
    os.write(end, b'x')
def meet(): os.read(ended, 1)  # waits for a process and leaves it unreaped
"""
IGNORE_CHILDREN = BURN + "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
# SA_NOCLDWAIT with the default handler
NO_CHILD_WAIT = (
    BURN
    + """
import ctypes
class Action(ctypes.Structure):
    _fields_ = [("handler", ctypes.c_void_p), ("mask", ctypes.c_ulong * 16), ("flags", ctypes.c_int), ("restorer", ctypes.c_void_p)]
ctypes.CDLL(None).sigaction(17, ctypes.byref(Action(flags=2)), None)
"""
)

EXHAUSTING = {
    "fork bomb": (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        {"time_limit"},
    ),
    "fork bomb that ends at the limit": ("import os\nwhile True: os.fork()", {"runtime_error", "time_limit"}),
    "thread bomb": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
        {"runtime_error", "time_limit"},
    ),
    "many processes that burn": (
        "import os\nfor _ in range(6):\n    if os.fork() == 0:\n        while True: pass\nos.wait()",
        {"time_limit"},
    ),
    "memory by bytearray": ("x = []\nwhile True: x.append(bytearray(8 << 20))", {"memory_limit"}),
    "memory by one allocation": ("x = bytearray(1 << 40)", {"memory_limit"}),
    "memory by a list": ("x = [0]\nwhile True: x += x", {"memory_limit"}),
    "memory by mmap": (
        "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 16 << 20)\n    m.write(b'x' * (16 << 20))\n    x.append(m)",
        {"memory_limit", "runtime_error"},
    ),
    "memory by many small processes": (
        "import os, time\nfor _ in range(20):\n    if os.fork() == 0:\n        x = bytearray(b'x' * (40 << 20))\n        time.sleep(60)\n"
        "time.sleep(60)",
        {"memory_limit", "time_limit", "runtime_error"},
    ),
    "memory in children, and a parent that answers": (
        "import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n        x = bytearray(40 << 20)\n        x[::4096] = b'x' * len(x[::4096])\n"
        "        time.sleep(0.3)\n        os._exit(0)\nfor _ in range(12): os.wait()\nprint('contained')",
        {"memory_limit"},
    ),
    "memory that children share": (
        "import mmap, os, time\nfor _ in range(6):\n    if os.fork() == 0:\n        m = mmap.mmap(-1, 60 << 20, mmap.MAP_SHARED)\n"
        "        m[::4096] = b'x' * len(m[::4096])\n        time.sleep(0.3)\n        os._exit(0)\nfor _ in range(6): os.wait()\nprint('contained')",
        {"memory_limit"},
    ),
    "memory in one child, freed before the parent answers": (
        "import os\nif os.fork() == 0:\n    x = bytearray(230 << 20)\n    x[::4096] = b'x' * len(x[::4096])\n    os._exit(0)\n"
        "os.wait()\nprint('contained')",
        {"memory_limit"},
    ),
    "zombies that nobody reaps": (
        "import os\nwhile True:\n    if os.fork() == 0: os._exit(0)",
        {"runtime_error", "time_limit"},
    ),
    "memory by tmpfs": (
        "i = 0\nwhile True:\n    i += 1\n    open(f'/tmp/{i}', 'wb').write(b'x' * 200000)",
        {"runtime_error", "memory_limit"},
    ),
    "memory by /dev/shm": (
        "i = 0\nwhile True:\n    i += 1\n    open(f'/dev/shm/{i}', 'wb').write(b'x' * 200000)",
        {"runtime_error", "memory_limit"},
    ),
    "memory in socket buffers, out of the kernel's sight": (
        "import os, socket\n"
        "try: open('/proc/self/oom_score_adj', 'w').write('0')\nexcept OSError: pass\n"
        "for _ in range(3): os.fork()\n"
        "held = []\nwhile True:\n    try:\n        a, b = socket.socketpair()\n        held += [a, b]\n"
        "        a.setblocking(False)\n        while True: a.send(b'x' * 65536)\n    except BlockingIOError: pass\n"
        "    except OSError:\n        import time; time.sleep(60)",
        {"memory_limit", "time_limit", "runtime_error"},
    ),
    "memory in pipes": (
        "import os\nheld = []\nfor _ in range(3): os.fork()\nwhile True:\n    try:\n        r, w = os.pipe()\n        os.set_blocking(w, False)\n"
        "        while True: os.write(w, b'x' * 65536)\n    except BlockingIOError: pass\n"
        "    except OSError:\n        import time; time.sleep(60)",
        {"memory_limit", "time_limit", "runtime_error"},
    ),
    "disk fill by one file": (
        "f = open('/tmp/big', 'wb')\nwhile True: f.write(b'x' * 65536)",
        {"runtime_error", "memory_limit"},
    ),
    "disk fill by many inodes": (
        "import os\ni = 0\nwhile True:\n    i += 1\n    os.close(os.open(f'/tmp/{i}', os.O_CREAT | os.O_RDWR))",
        {"runtime_error"},
    ),
    "stdout flood": ("while True: print('x' * 4096)", {"output_limit"}),
    "stdout flood that ignores errors": (
        "import os\nwhile True:\n    try: os.write(1, b'x' * 65536)\n    except OSError: pass",
        {"output_limit", "time_limit"},
    ),
    "the right answer, then a flood": (
        "print('contained', flush=True)\nwhile True: print(' ' * 4096)",
        {"output_limit"},
    ),
    "stderr flood": ("import os\nwhile True: os.write(2, b'x' * 65536)", {"time_limit"}),
    "a slow drip of output": (
        "import time\nwhile True:\n    print('x', flush=True)\n    time.sleep(0.02)",
        {"time_limit"},
    ),
    "sleep": ("import time\ntime.sleep(3600)", {"time_limit"}),
    "a busy loop": ("while True: pass", {"time_limit"}),
    "a busy loop in C": ("sum(range(10**12))", {"time_limit"}),
    "waits for more input": ("import os\nr, w = os.pipe()\nos.read(r, 1)", {"time_limit"}),
    "reads past the end": ("while True: input()", {"runtime_error"}),
    "ignores every signal": (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True: pass",
        {"time_limit"},
    ),
    "blocks every signal": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        {"time_limit"},
    ),
    "stops itself": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nimport time\ntime.sleep(3600)",
        {"time_limit"},
    ),
    "hangs in atexit": ("import atexit\n@atexit.register\ndef f():\n    while True: pass", {"time_limit"}),
    "a thread that never ends": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()\nprint('contained')",
        {"time_limit"},
    ),
    "descriptor exhaustion": ("import os\nwhile True: os.dup(0)", {"runtime_error"}),
    "a segmentation fault": ("import ctypes\nctypes.string_at(0)", {"runtime_error"}),
    "endless recursion": ("def f(): return f()\nf()", {"runtime_error", "memory_limit"}),
    "10^6-deep nesting in repr": (
        "x = []\nfor _ in range(10**6): x = [x]\nimport sys\nsys.setrecursionlimit(10**9)\nprint(x)",
        {"runtime_error", "wrong_answer", "memory_limit", "time_limit"},
    ),
    "10^6-deep nesting in the source": ("x = " + "-" * 10**6 + "1", {"compile_error"}),
    "10^5 brackets in the source": ("x = " + "(" * 10**5 + ")" * 10**5, {"compile_error"}),
    "a NUL in the source": ("print('contained')\0", {"compile_error"}),
    "a lone surrogate in the source": ("print('\ud800')", {"compile_error"}),
    "not Python": ("int main() { return 0; }", {"compile_error"}),
    "an empty program": ("", {"wrong_answer"}),
    "os._exit(0) at once": ("import os\nos._exit(0)", {"wrong_answer"}),
    "sys.exit(0) at once": ("import sys\nsys.exit(0)", {"wrong_answer"}),
    "a status after the right answer": ("import sys\nprint('contained')\nsys.exit(3)", {"runtime_error"}),
    "an exception after the right answer": ("print('contained')\n1 / 0", {"runtime_error"}),
    "an exception that cannot be shown": (
        "class E(Exception):\n    def __str__(self): raise self\nraise E()",
        {"runtime_error"},
    ),
    "an exception in the exception hook": (
        "import sys\ndef hook(*a): raise ValueError\nsys.excepthook = hook\n1 / 0",
        {"runtime_error"},
    ),
    "exits well from the exception hook": (
        "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\n1 / 0",
        {"wrong_answer"},
    ),
    "closes its output": ("import os\nos.close(1)\nprint('contained')", {"runtime_error", "wrong_answer"}),
    "NUL bytes and invalid UTF-8": (
        "import sys\nsys.stdout.buffer.write(b'contained\\0\\xff\\xfe')",
        {"wrong_answer"},
    ),
    "two answers": ("print('contained contained')", {"wrong_answer"}),
    "kills its own group": ("import os\nos.kill(0, 9)\nos.killpg(0, 9)\nprint('x')", {"runtime_error", "wrong_answer"}),
    "kills everything": ("import os\nos.kill(-1, 9)\nprint('x')", {"runtime_error", "wrong_answer"}),
    "writes to every descriptor": (
        "import os\nfor fd in range(3, 256):\n    for text in (b'{\"status\": 0}', b'accepted', b'R\"contained\"', b'confined'):\n"
        "        try: os.write(fd, text)\n        except OSError: pass",
        {"wrong_answer"},
    ),
    "truncates every descriptor and leaves ill": (
        "import os\nfor fd in range(3, 256):\n    try: os.ftruncate(fd, 0)\n    except OSError: pass\nos._exit(70)",
        {"runtime_error"},
    ),
    "a huge sparse output": ("import os\nos.ftruncate(1, 1 << 40)\n", {"runtime_error", "output_limit"}),
    "changes the clocks and sleeps": (
        "import time\ntime.process_time = time.monotonic = time.perf_counter = time.time = lambda: 0\nwhile True: pass",
        {"time_limit"},
    ),
    "children that nobody waits for": (
        IGNORE_CHILDREN + "for _ in range(8):\n    if os.fork() == 0: burn(0.2); os._exit(0)\n"
        "    try: os.wait()\n    except ChildProcessError: pass\nprint('contained')",
        {"time_limit"},
    ),
    "short children that nobody waits for, by a flag that /proc does not show": (
        NO_CHILD_WAIT
        + "for _ in range(400):\n    if os.fork() == 0: burn(0.004); os._exit(0)\n    meet()\nprint('contained')",
        {"time_limit", "runtime_error"},
    ),
    "grandchildren whose parents have gone": (
        BURN
        + "for _ in range(60):\n    if os.fork() == 0:\n        if os.fork() == 0: burn(0.02)\n        os._exit(0)\n    os.wait()\n"
        "    meet()\nprint('contained')",
        {"time_limit", "runtime_error"},
    ),
    "grandchildren of a parent that ignores its children": (
        IGNORE_CHILDREN
        + "for _ in range(60):\n    if os.fork() == 0:\n        if os.fork() == 0: burn(0.02)\n        os._exit(0)\n"
        "    meet()\nprint('contained')",
        {"time_limit", "runtime_error"},
    ),
    "children that are gone with another signal": (
        SYSCALL
        + IGNORE_CHILDREN
        + "for _ in range(8):\n    if syscall(56, 0, 0, 0, 0, 0) == 0: burn(0.2); os._exit(0)\n    meet()\nprint('contained')",
        {"time_limit", "runtime_error"},
    ),
    "time in threads that have ended": (
        BURN
        + "import threading\nfor _ in range(60):\n    t = threading.Thread(target=burn, args=(0.02,))\n    t.start()\n    t.join()\nprint('contained')",
        {"time_limit"},
    ),
    "the lowest priority on one processor": (
        "import os\nfor f in (lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)), lambda: os.nice(19), "
        "lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})):\n    try: f()\n    except OSError: pass\n"
        "while True: pass",
        {"time_limit"},
    ),
    "children of the lowest priority that nobody waits for": (
        IGNORE_CHILDREN
        + "try: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); os.sched_setaffinity(0, {0})\n"
        "except OSError: pass\nwhile True:\n    try:\n        if os.fork() == 0: burn(0.05); os._exit(0)\n"
        "    except OSError: pass\n    time.sleep(0.01)",
        {"time_limit"},
    ),
    "threads that crowd at the same moment and sleep": (
        "import threading, time\ndef f():\n    while True:\n        time.sleep(0.05 - time.monotonic() % 0.05)\n        sum(range(2000))\n"
        "for _ in range(20): threading.Thread(target=f).start()",
        {"time_limit", "runtime_error"},
    ),
    "a child of vfork that sleeps": (
        SYSCALL + "import time\nif syscall(56, 0x4000 | 0x100 | 17, 0, 0, 0, 0) == 0: time.sleep(3600)",
        {"time_limit"},
    ),
    "a brother by vfork that sleeps": (
        SYSCALL
        + "import time\nif os.fork() == 0:\n    if syscall(56, 0x8000 | 0x4000 | 0x100 | 17, 0, 0, 0, 0) == 0: time.sleep(3600)\n"
        "time.sleep(3600)",
        {"time_limit"},
    ),
    "stopped children": (
        "import os, signal, time\nfor _ in range(3):\n    if os.fork() == 0:\n        os.kill(os.getpid(), signal.SIGSTOP)\n        time.sleep(3600)\n"
        "os.wait()",
        {"time_limit"},
    ),
    "a source that takes long to compile": (
        "x = 1\nx = f'" + "{0}" * 400_000 + "'\nprint('contained')",
        {"compile_error"},
    ),
    "raises its own limits and burns": (
        "import resource\nfor k in range(16):\n    try: resource.setrlimit(k, (resource.RLIM_INFINITY,) * 2)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        {"time_limit"},
    ),
}

CONTAINED = {
    "a daemon that outlives the test": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True:\n"
        "            time.sleep(0.01)\n    os._exit(0)\nos.wait()\nprint('contained')"
    ),
    "a parent that exits first": (
        "import os, time\nif os.fork() == 0:\n    time.sleep(3600)\nprint('contained', flush=True)\nos._exit(0)"
    ),
    "TCP to the host": (
        "import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 0.5)\n    print('connected')\n"
        "except OSError:\n    print('contained')"
    ),
    "UDP": (
        "import socket\ntry:\n    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))\n"
        "    print('sent')\nexcept OSError:\n    print('contained')"
    ),
    "an abstract unix socket of the host": (
        "import socket\ntry:\n    socket.socket(socket.AF_UNIX).connect('\\0{abstract}')\n    print('connected')\n"
        "except OSError:\n    print('contained')"
    ),
    "netlink and raw sockets": (
        "import socket\nfor family, kind in ((16, 3), (17, 3), (2, 3), (10, 1), (38, 5), (40, 1)):\n"
        "    try: socket.socket(family, kind); print('opened', family)\n    except OSError: pass\nprint('contained')"
    ),
    "io_uring": SYSCALL + "print('contained' if syscall(425, 8, ctypes.create_string_buffer(256)) == -1 else 'set up')",
    "bpf, perf, userfaultfd, keyctl, memfd": (
        SYSCALL + "bad = [n for n in (321, 298, 323, 250, 319, 447) if syscall(n, 0, 0, 0, 0, 0) != -1 "
        "or ctypes.get_errno() not in (1, 38)]\nprint(bad or 'contained')"
    ),
    "clone3 does not exist": SYSCALL
    + "print('contained' if syscall(435, 0, 0) == -1 and ctypes.get_errno() == 38 else 'answers')",
    "SysV shared memory and message queues": (
        SYSCALL + "print('contained' if all(syscall(n, 77, 4096, 0o1666) == -1 for n in (29, 64, 68)) else 'made')"
    ),
    "32-bit and x32 system calls": SYSCALL + "print('contained' if syscall(0x40000000 + 39) == -1 else 'called')",
    "new namespaces": (
        SYSCALL + "bad = [f for f in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x08000000, 0x02000000) "
        "if libc.unshare(f) != -1]\nbad += [f for f in (0x10000000, 0x20000000) if syscall(56, f | 17, 0, 0, 0, 0) != -1]\n"
        "print(bad or 'contained')"
    ),
    "mount, chroot, pivot_root": (
        SYSCALL
        + "bad = [libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.chroot(b'/tmp'), libc.umount2(b'/proc', 2), "
        "syscall(155, b'/tmp', b'/tmp')]\nprint('contained' if bad == [-1] * 4 else bad)"
    ),
    "ptrace and process_vm_readv": (
        SYSCALL + "bad = [libc.ptrace(16, 1, 0, 0), syscall(310, os.getppid(), None, 0, None, 0, 0)]\n"
        "print('contained' if bad == [-1] * 2 else bad)"
    ),
    "the parent's memory, descriptors, environment": (
        "import os\nfound = []\nfor pid in {str(os.getppid()), *map(str, range(9)), *os.listdir('/proc')} - {'self', "
        "'thread-self', str(os.getpid())}:\n"
        "    for name in ('mem', 'maps', 'environ', 'fd', 'root', 'cwd', 'cmdline'):\n"
        "        if os.path.exists(f'/proc/{pid}/{name}'): found.append((pid, name))\nprint(found or 'contained')"
    ),
    "sees no other process": "import os\nseen = [name for name in os.listdir('/proc') if name.isdigit()]\n"
    "print('contained' if seen == [str(os.getpid())] and os.getppid() == 0 else (seen, os.getppid()))",
    "signals to others": (
        "import os, signal\nhit = []\nfor pid in {os.getppid() or 1, 1, 2, 3, 4, 5, 10, 100} - {os.getpid()}:\n"
        "    for s in (signal.SIGSTOP, signal.SIGKILL):\n        try: os.kill(pid, s); hit.append(pid)\n"
        "        except OSError: pass\nprint(hit or 'contained')"
    ),
    "signals to every id": (
        "import os, signal\nhit = []\nfor pid in {*range(1, 5000)} - {os.getpid()}:\n"
        "    for f in (os.kill, os.killpg, lambda pid, s: os.pidfd_open(pid)):\n"
        "        try: f(pid, signal.SIGKILL); hit.append(pid)\n        except OSError: pass\nprint(hit or 'contained')"
    ),
    "a child of its own parent": (
        SYSCALL
        + "import os\nfor _ in range(9):\n    if syscall(56, 0x8000 | 17, 0, 0, 0, 0) == 0: os._exit(0)\nprint('contained')"
    ),
    "limits of the first process": (
        "import resource\ntry: print(resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)))\nexcept OSError: print('contained')"
    ),
    "files of the page cache and of other tests": (
        "import os\nbad = []\nfor p in ('/proc/sys/vm/drop_caches', '/proc/self/clear_refs', '/proc/kcore', '/dev/mem', '/proc/self/pagemap'):\n"
        "    try:\n        fd = os.open(p, os.O_RDWR)\n        bad.append(p)\n    except OSError: pass\nprint(bad or 'contained')"
    ),
    "no rights": (
        "rows = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "ok = all(int(rows[k], 16) == 0 for k in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')) "
        "and rows['NoNewPrivs'].strip() == '1' and rows['Seccomp'].strip() == '2'\n"
        "import os\nprint('contained' if ok and os.getuid() == os.geteuid() != 0 else rows)"
    ),
    "setuid": (
        "import os\nbad = []\nfor f in (os.setuid, os.setgid, os.seteuid):\n    try: f(0); bad.append(f)\n"
        "    except OSError: pass\nprint(bad or 'contained')"
    ),
    "writes outside its own directory": (
        "import os\nmade = []\nfor d in ('/', '/dev', '/usr/lib', '/lib', '/python', '/python/lib', '/sandbox', '/proc', '/proc/sys'):\n"
        "    try: open(os.path.join(d, 'x'), 'w'); made.append(d)\n    except OSError: pass\n"
        "    try: os.mkdir(os.path.join(d, 'y')); made.append(d)\n    except OSError: pass\nprint(made or 'contained')"
    ),
    "writes to the interpreter's library": (
        "import os, json\nmade = []\nd = os.path.dirname(os.__file__)\n"
        "for p in (d + '/sitecustomize.py', d + '/site-packages/x.pth', os.__file__, json.__file__, '/sandbox/server.py'):\n"
        "    try: open(p, 'a').write('x'); made.append(p)\n    except OSError: pass\nprint(made or 'contained')"
    ),
    "its own out-of-memory score": (
        "try:\n    open('/proc/self/oom_score_adj', 'w').write('0')\n    print('lowered')\nexcept OSError:\n    print('contained')"
    ),
    "device nodes": (
        "import os, stat\nmade = []\nfor kind in (stat.S_IFCHR, stat.S_IFBLK):\n"
        "    try: os.mknod('/tmp/node', kind | 0o666, os.makedev(1, 1)); made.append(kind)\n    except OSError: pass\n"
        "print(made or 'contained')"
    ),
    "files of the host": (
        "import os\nfound = [p for p in ('/etc/passwd', '/etc/shadow', '/root', '/home', '/work', '/var', '/opt', '/mnt', '/sys', "
        "'/proc/kallsyms', '/proc/meminfo', '/proc/sys', '/proc/1/root/etc', {here!r}, {secret!r}) if os.path.exists(p)]\n"
        "print(found or 'contained')"
    ),
    "a symlink to a host file": (
        "import os\nos.symlink({secret!r}, '/tmp/link')\ntry:\n    print(open('/tmp/link').read())\n"
        "except OSError:\n    print('contained')"
    ),
    "packages of the host": (
        "import os, sys\nroots = ['/python', '/usr/lib']\nfound = [os.path.join(d, f) for r in roots for d, _, fs in os.walk(r) "
        "for f in fs if d.endswith(('site-packages', 'dist-packages'))]\nprint(found[:3] or 'contained')"
    ),
    "state left in files": (
        "import os\nfound = [p for p in ('/tmp/left', '/dev/shm/left', '/tmp/sitecustomize.py') if os.path.exists(p)]\n"
        "for p in ('/tmp/left', '/dev/shm/left', '/tmp/sitecustomize.py'):\n    open(p, 'w').write('print(1)')\n"
        "print(found or 'contained')"
    ),
    "state left in an abstract socket": (
        "import os, socket\ns = socket.socket(socket.AF_UNIX)\ntry:\n    s.bind('\\0left')\nexcept OSError:\n    print('taken')\n"
        "s.listen()\nif os.fork() == 0:\n    os.setsid()\n    s.accept()\nprint('contained', flush=True)\nos._exit(0)"
    ),
    "a call counter in modules": (
        "import collections, builtins\nn = getattr(collections, 'seen', 0) + getattr(builtins, 'seen', 0)\n"
        "collections.seen = builtins.seen = 1\nprint(n or 'contained')"
    ),
    "open descriptors": (
        "import os\nfds = sorted(map(int, os.listdir('/proc/self/fd')))\nprint('contained' if fds[:4] == [0, 1, 2, 3] and len(fds) <= 5 else fds)"
    ),
    "core dumps": (
        "import resource\nprint('contained' if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0) else 'dumps')"
    ),
    "executes nothing of the host": (
        "import os\nfound = [p for p in ('/bin/sh', '/usr/bin/env', '/bin/bash', '/usr/bin/bwrap', '/usr/bin/gcc') if os.path.exists(p)]\n"
        "print(found or 'contained')"
    ),
    "a lock on /dev/null that stays": (
        "import fcntl\ntry:\n    fcntl.flock(2, fcntl.LOCK_EX | fcntl.LOCK_NB)\n    print('contained')\nexcept OSError:\n    print('locked')"
    ),
    "flags of the shared standard error": (
        "import fcntl, os, signal\nkept = fcntl.fcntl(2, fcntl.F_GETFL) & (os.O_NONBLOCK | os.O_APPEND), fcntl.fcntl(2, 11), fcntl.fcntl(2, fcntl.F_GETOWN)\n"
        "fcntl.fcntl(2, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)\nfcntl.fcntl(2, 10, signal.SIGUSR1)\nfcntl.fcntl(2, fcntl.F_SETOWN, os.getpid())\n"
        "print('contained' if kept == (0, 0, 0) else kept)"
    ),
    "the metadata of device nodes": (
        "import os\nmade = []\nfor p in ('null', 'zero', 'full', 'random', 'urandom'):\n"
        "    for f in (os.utime, lambda p: os.chmod(p, 0o600), lambda p: os.chown(p, os.getuid(), os.getgid()), "
        "lambda p: os.setxattr(p, 'user.x', b'x'), lambda p: os.utime(os.open(p, os.O_RDWR))):\n"
        "        try: f('/dev/' + p); made.append(p)\n        except OSError: pass\n"
        "print(made or 'contained')"
    ),
    "slots for asynchronous input and output": SYSCALL
    + "print('contained' if syscall(206, 60000, ctypes.create_string_buffer(8)) == -1 else 'took them')",
    "quotas of the machine": (
        SYSCALL + "import fcntl, resource, socket\n"
        "got = [n for n in (206, 209, 253, 294, 425, 321, 298, 300, 248, 250, 240, 68, 64, 29, 319, 317, 323) if syscall(n, 1, 0, 0, 0) != -1]\n"
        "r, w = os.pipe()\na, b = socket.socketpair()\n"
        "def guarded(f, *args):\n    try: f(*args); got.append(args)\n    except OSError: pass\n"
        "guarded(fcntl.fcntl, w, 1031, 1 << 20)\n"
        "guarded(fcntl.fcntl, os.open(os.__file__, os.O_RDONLY), 1024, fcntl.F_RDLCK)\n"
        "guarded(fcntl.fcntl, os.open('/', os.O_RDONLY), 1026, 1)\n"
        "for option in (26, 50, 51, 52): guarded(a.setsockopt, socket.SOL_SOCKET, option, bytes(16))\n"
        "if libc.prctl(22, 1, 0, 0, 0) != -1: got.append('seccomp')\n"
        "for k in (resource.RLIMIT_SIGPENDING, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):\n"
        "    if resource.getrlimit(k)[1] > 1024: got.append(k)\nprint(got or 'contained')"
    ),
    "its own priority": (
        "import os\ndef seen(): return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0))\n"
        "before = seen()\nfor f in (lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)), "
        "lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)), lambda: os.nice(19), lambda: os.setpriority(os.PRIO_PGRP, 0, 19), "
        "lambda: os.setpriority(os.PRIO_USER, 0, 19), lambda: os.sched_setaffinity(0, {before[2][0]})):\n"
        "    try: f()\n    except OSError: pass\nprint('contained' if seen() == before else seen())"
    ),
    "an abstract socket in a cycle of sent descriptors": (
        "import array, os, socket, time\nunix = socket.AF_UNIX\na, b = socket.socketpair(unix, socket.SOCK_DGRAM)\nc, d = socket.socketpair(unix, socket.SOCK_DGRAM)\n"
        "s = socket.socket(unix)\ntry:\n    s.bind('\\0left in a cycle')\n    said = 'contained'\nexcept OSError as error: said = error\n"
        "rights = array.array('i', [a.fileno(), b.fileno(), c.fileno(), d.fileno(), s.fileno()])\n"
        "for sender in (a, d):\n    try:\n        sender.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])\n"
        "        said = 'a descriptor was sent'\n    except PermissionError: pass\nprint(said)"
    ),
    "the mount table of the host": (
        "import os\ndef table(): return ''.join(open(f'/proc/self/{n}').read() for n in ('mountinfo', 'mounts', 'mountstats'))\n"
        "seen = table()\nr, w = os.pipe()\nif os.fork() == 0:\n    os.write(w, table().encode() or b'-')\n    os._exit(0)\nos.wait()\n"
        "seen += os.read(r, 65536).decode()\nprint('contained' if seen == '-' else seen)"
    ),
    "20,000 warnings of the compiler": "if 0:\n" + "    0 is 0\n" * 20_000 + "print('contained')",
    "names of the host": "import os\nprint('contained' if os.uname().nodename == 'sandbox' else os.uname())",
}

# Searches everything it can reach for the text in {needle!r}, given in two halves so that it does not find itself.
SEARCH = """
import gc, os, sys
needle = {first!r}.encode() + {second!r}.encode()
found = set()
def look(text):
    if isinstance(text, str): text = text.encode('utf-8', 'replace')
    if isinstance(text, (bytes, bytearray)):
        at = bytes(text).find(needle)
        if at >= 0: found.add(bytes(text)[at : at + 40].split()[0])
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()) + list(frame.f_globals.values()): look(repr(value))
    frame = frame.f_back
for thing in gc.get_objects():
    if type(thing) in (dict, list, tuple): look(repr(thing)[:100000])
for fd in range(256):
    for path in (f'/proc/self/fd/{{fd}}',):
        try: look(open(path, 'rb').read(1 << 20)) if fd not in (0,) else None
        except OSError: pass
for directory in ('/tmp', '/sandbox', '/proc/self', '/dev/shm'):
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if os.path.isfile(path) and name not in ('mem', 'main.py', 'clear_refs', 'pagemap'):
            try: look(open(path, 'rb').read(1 << 20))
            except OSError: pass
with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:
    for line in maps:
        span, rights = line.split()[:2]
        if 'rw' not in rights: continue
        low, high = (int(part, 16) for part in span.split('-'))
        try:
            memory.seek(low)
            block = memory.read(high - low)
        except (OSError, ValueError, OverflowError): continue
        at = block.find(needle)
        while at >= 0:
            word = block[at : at + 40].split()[0].split(b'\\0')[0]
            if len(word) > len(needle) + 3: found.add(word)
            at = block.find(needle, at + 1)
"""

# Print two numbers whose sum is n: the expected output has one pair of many.
SUM_CHECKER = """import sys
def main():
    n = int(open(sys.argv[1]).read())
    expected = open(sys.argv[2]).read().split()
    assert sum(map(int, expected)) == n
    try:
        a, b = map(int, open(sys.argv[3]).read().split())
    except ValueError:
        print(0)
        return
    print(1 if a + b == n else 0)
main()
"""

# Programs whose output, or whatever they leave behind, aims at the checker of their problem.
AT_CHECKERS = {
    "one gigabyte": "import sys\nfor _ in range(1000): sys.stdout.write('1 4 ' * 250_000)",
    "a verdict": "print(1)",
    "a score and a verdict": "print('1\\nAC\\naccepted\\n42')",
    "control characters": "n = int(input())\nprint(f'\\x1b[2J\\x00\\r\\x1a1 {n - 1}\\x04\\x00')",
    "a reply of the session": 'print(\'{"status": 0, "stopped": false, "printed": "MQ=="}\')',
    "a frame": "import sys\nsys.stdout.buffer.write((3).to_bytes(8, 'big') + b'0 5')",
    "bytes that are no text": "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 40)",
    "the checker's name": "print('$(reboot) ; `id` %s %n /tmp/checker/checker.py')",
    "files left behind": "import os\nfor name in ('checker.py', 'input.txt', 'printed', 'sitecustomize.py'):\n    open('/tmp/' + name, 'w').write('print(1)')\nos.makedirs('/tmp/work/feedback', exist_ok=True)\nopen('/tmp/work/printed', 'w').write('1')\nos.makedirs('/tmp/checker', exist_ok=True)\nopen('/tmp/checker/helper.py', 'w').write('def good(*a): return True')\nprint(7)",
    "the answer of another process": 'import os\nfor fd in range(3, 256):\n    try: os.write(fd, b\'{"status": 0, "stopped": false, "printed": "MQ=="}\\n\')\n    except OSError: pass\nprint(7)',
    "a checker that is looked for": "import os\nfor pid in filter(str.isdigit, os.listdir('/proc')):\n    try: open(f'/proc/{pid}/fd/1', 'w').write('1')\n    except OSError: pass\nprint(7)",
    "nothing": "pass",
    "a number that is no number": "print('nan inf')",
    "a huge number": "print('9' * 5000, 1)",
}
