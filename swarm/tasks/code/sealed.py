"""The inside of the sandbox: a small interpreter that forks for every program.

A fork can only compute and answer. `sandbox.py` starts this file as a script of its own, so that
its memory holds nothing but the standard library: no hidden results, no other answers, no key. It
gets one socket per program. The fork reads the program from the socket, seals itself, and writes
the results to it.

Sealing is an allow list of system calls, held by the kernel (seccomp), that no program can take
back. On it are memory, reading and writing open descriptors (the socket and /dev/null), and ending.
Any other call ends the process at once, made by whatever means: Python, ctypes, machine code. So
calls for files, links, sockets, processes, threads, signals, traces, mounts or clocks need not be
forbidden one by one, and no privilege is needed. There is nothing to wait for: a running program
uses CPU time. The kernel limits memory and CPU time too.

The limits on imports are for honest programs only: the same program gives the same result
everywhere.
"""

import builtins
import ctypes
import gc
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
from types import ModuleType
from typing import NoReturn

CPU_S = 0.25  # for all cases of one program; an honest one needs a few thousandths
MEMORY_BYTES = 256 * 2**20  # of addresses; the interpreter takes a few dozen MiB

# Modules that read no clock, chance, machine or file system, and are quick to load.
MODULES = (
    "__future__", "bisect", "collections", "copy", "functools", "heapq", "itertools", "json", "math", "operator", "re",
    "string", "typing",
)  # fmt: skip

# The kernel's name of each machine, and its numbers of: read, write, brk, mmap, munmap, mremap,
# mprotect, exit, exit_group.
CALLS = {
    "x86_64": (0xC000003E, (0, 1, 12, 9, 11, 25, 10, 60, 231)),
    "aarch64": (0xC00000B7, (63, 64, 214, 222, 215, 216, 226, 93, 94)),
}
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
# BPF: A = data[k]; if A == k skip jt instructions, else jf; return k.
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4  # offsets in struct seccomp_data
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000


def allow_list(machine: str) -> bytes:
    """Return the filter as BPF instructions, which allow the calls of `CALLS[machine]` only."""
    architecture, calls = CALLS[machine]
    instructions = [
        (LOAD_WORD, 0, 0, ARCHITECTURE_AT),
        (JUMP_IF_EQUAL, 1, 0, architecture),  # the same number is another call in 32-bit mode
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD_WORD, 0, 0, NUMBER_AT),
        *((JUMP_IF_EQUAL, len(calls) - place, 0, call) for place, call in enumerate(calls)),
        (RETURN, 0, 0, KILL_PROCESS),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def seal(instructions: bytes) -> None:
    """Give up every other system call for good, and limit memory and CPU time.

    Raises `OSError` if the kernel has no such filters.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(instructions) // 8, ctypes.addressof(code)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.setitimer(signal.ITIMER_PROF, CPU_S)  # ends the process: nothing can handle the signal any more
    for option, first, second in ((PR_SET_NO_NEW_PRIVS, 1, None), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program)):
        if libc.prctl(option, ctypes.c_ulong(first), second, None, None):
            raise OSError(ctypes.get_errno(), f"prctl({option}): {os.strerror(ctypes.get_errno())}")


def only_modules(name: str, *others: object) -> ModuleType:
    """Import one of `MODULES` for a program. Raises `ImportError` for others."""
    if name.partition(".")[0] not in MODULES:
        raise ImportError(f"a program may import {', '.join(MODULES)}, not {name}")
    return __import__(name, *others)  # type: ignore[arg-type]


def results(program: str, function: str, cases: list[list[object]]) -> bytes:
    """Return the function's results, a line of JSON per case. Raises the program's errors."""
    # Without `id`: an address differs from run to run.
    names = {name: value for name, value in vars(builtins).items() if name not in {"id", "open", "input"}}
    module = {"__name__": "answer", "__builtins__": names | {"__import__": only_modules}}
    exec(compile(program, "answer", "exec", dont_inherit=True), module)  # noqa: S102 - the process is sealed
    return "\n".join(json.dumps(module[function](*case)) for case in cases).encode()  # type: ignore[operator]


def run(connection: socket.socket, instructions: bytes) -> NoReturn:
    """Read a program and its cases, seal this fork, run the program, and answer.

    A program that fails answers nothing.
    """
    try:
        os.dup2(connection.fileno(), 1)
        os.close(0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        request = bytearray()
        while chunk := os.read(1, 2**16):
            request += chunk
        sys.stdout = sys.stderr
        try:
            seal(instructions)
        except OSError as error:
            os.write(1, str(error).encode())
            os.kill(os.getpid(), signal.SIGKILL)  # no program can do this to itself: the machine is to blame
        output = results(*json.loads(request))
        while output:
            output = output[os.write(1, output) :]
    finally:
        os._exit(0)


def main() -> None:
    """Fork for every program whose socket comes with a byte on standard input, itself a socket.

    Answers with the fork's exit status.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for name in MODULES:
        __import__(name)
    instructions = allow_list(platform.machine())
    channel = socket.socket(fileno=0)
    gc.freeze()
    while True:
        start, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
        if not start:
            return
        connection = socket.socket(fileno=descriptors[0])
        if os.fork() == 0:
            run(connection, instructions)
        connection.close()
        _, status = os.wait()
        channel.sendall(struct.pack("<i", status))


if __name__ == "__main__":
    main()
