"""A test double of Modal's servers on loopback: the real client talks to it, execs run in bubblewrap on this machine.

    python modal_double.py     prints its port, then its counts whenever a sandbox ends; ends with its standard input

It knows only what the verifier uses (app, image, V2 sandboxes, exec), and runs only the honest programs of the tests.

Environment: MODAL_DOUBLE_FAULT is played at every second exec (``rate_limited``: at every second creation);
MODAL_DOUBLE_RTT_S is waited before every answer; MODAL_DOUBLE_COLD_S passes between a sandbox's creation and its first
exec.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from grpclib.server import Server
from modal._utils.grpc_testing import patch_mock_servicer
from modal_proto import api_grpc, api_pb2, task_command_router_grpc
from modal_proto import task_command_router_pb2 as router_pb2

FAULT = os.environ.get("MODAL_DOUBLE_FAULT", "")
RTT_S, COLD_S = (float(os.environ.get(f"MODAL_DOUBLE_{name}_S", "0")) for name in ("RTT", "COLD"))
ISOLATED = [
    *("bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--cap-add", "ALL"),
    *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/var/tmp", "--perms", "1777", "--tmpfs"),
    *("/tmp", "--perms", "1777", "--tmpfs", "/dev/shm", "--clearenv", "--setenv", "PATH", os.environ["PATH"]),
]
port = 0
counts = {"sandboxes": 0, "terminated": 0, "execs": 0, "calls": 0, "creations": 0}
ready_s: dict[str, float] = {}  # when a task is warm


def jwt() -> str:
    parts = [{"alg": "none"}, {"exp": int(time.time()) + 3600}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".x"


def counted(handler):
    """A call that costs a round trip."""

    async def call(self, stream) -> None:
        counts["calls"] += 1
        await asyncio.sleep(RTT_S)
        await handler(self, stream)

    return call


def answer(response):
    """A call that always gets the same response."""

    async def handler(self, stream) -> None:
        await stream.recv_message()
        await stream.send_message(response() if callable(response) else response)

    return handler


@patch_mock_servicer
class Control(api_grpc.ModalClientBase):
    ClientHello = answer(api_pb2.ClientHelloResponse())
    AuthTokenGet = answer(lambda: api_pb2.AuthTokenGetResponse(token=jwt()))
    EnvironmentGetOrCreate = answer(
        api_pb2.EnvironmentGetOrCreateResponse(
            environment_id="en-1",
            metadata=api_pb2.EnvironmentMetadata(
                name="main", settings=api_pb2.EnvironmentSettings(image_builder_version="2024.10")
            ),
        )
    )
    AppGetOrCreate = answer(api_pb2.AppGetOrCreateResponse(app_id="ap-1"))
    ImageGetOrCreate = answer(
        api_pb2.ImageGetOrCreateResponse(
            image_id="im-1", result=api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
        )
    )
    AppClientDisconnect = answer(Empty())

    @counted
    async def SandboxCreateV2(self, stream) -> None:
        request = await stream.recv_message()
        assert request.definition.network_access.network_access_type == api_pb2.NetworkAccess.BLOCKED
        assert request.definition.resources.memory_mb_max == request.definition.resources.memory_mb > 0
        counts["creations"] += 1
        if FAULT == "rate_limited" and counts["creations"] % 2:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "sandboxes are created too fast")
        counts["sandboxes"] += 1
        access = api_pb2.CommandRouterAccess(url=f"http://127.0.0.1:{port}", jwt=jwt())
        number = counts["sandboxes"]
        ready_s[f"ta-{number}"] = time.monotonic() + COLD_S
        await stream.send_message(
            api_pb2.SandboxCreateV2Response(
                sandbox_id=f"sb-{number}", task_id=f"ta-{number}", command_router_access=access
            )
        )

    @counted
    async def SandboxTerminateV2(self, stream) -> None:
        await stream.recv_message()
        counts["terminated"] += 1
        print(json.dumps(counts), flush=True)
        await stream.send_message(api_pb2.SandboxTerminateResponse())


def falsified(said: bytes) -> bytes:
    """What arrives of an exec's output when the fault is played."""
    if FAULT == "torn":
        return said[: len(said) // 2]
    if FAULT == "starved":
        *lines, last = said.splitlines()
        answer = json.loads(last)
        answer["report"]["stopped"] = "starved"
        return b"\n".join((*lines, json.dumps(answer).encode(), b""))
    return said


@patch_mock_servicer
class Router(task_command_router_grpc.TaskCommandRouterBase):
    def __init__(self) -> None:
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.faulty: set[str] = set()

    @counted
    async def TaskExecStart(self, stream) -> None:
        request = await stream.recv_message()
        assert sum(map(len, request.command_args)) < 1 << 16
        await asyncio.sleep(ready_s[request.task_id] - time.monotonic())
        counts["execs"] += 1
        if FAULT and counts["execs"] % 2:
            self.faulty.add(request.exec_id)
            if FAULT == "reaped":
                raise GRPCError(Status.NOT_FOUND, "the sandbox is gone")
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
        self.running[request.exec_id] = await asyncio.create_subprocess_exec(*ISOLATED, *request.command_args, **pipes)
        await stream.send_message(router_pb2.TaskExecStartResponse())

    @counted
    async def TaskExecStdinWrite(self, stream) -> None:
        request = await stream.recv_message()
        stdin = self.running[request.exec_id].stdin
        stdin.write(request.data)
        await stdin.drain()
        if request.eof:
            stdin.close()
        await stream.send_message(router_pb2.TaskExecStdinWriteResponse())

    @counted
    async def TaskExecStdioRead(self, stream) -> None:
        request = await stream.recv_message()
        process = self.running[request.exec_id]
        is_output = request.file_descriptor == router_pb2.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDOUT
        pipe = process.stdout if is_output else process.stderr
        if is_output and request.exec_id in self.faulty:
            said = falsified(await pipe.read())
            await stream.send_message(router_pb2.TaskExecStdioReadResponse(data=said))
            return
        while said := await pipe.read(1 << 16):
            await stream.send_message(router_pb2.TaskExecStdioReadResponse(data=said))

    @counted
    async def TaskExecWait(self, stream) -> None:
        request = await stream.recv_message()
        code = await self.running[request.exec_id].wait()
        if FAULT == "timeout" and request.exec_id in self.faulty:
            code = 137
        await stream.send_message(router_pb2.TaskExecWaitResponse(code=code))


async def main() -> None:
    global port
    server = Server([Control(), Router()])
    await server.start("127.0.0.1", 0)
    port = server._server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
