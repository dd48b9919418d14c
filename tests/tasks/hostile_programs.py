"""Programs that attack their runner.

An attack is the body of a function that returns its loot, so that a broken attack shows.
"""

import os
import platform
from pathlib import Path

# Round the limits on imports, which are for honest programs: every module that the interpreter has
# loaded, ctypes too.
BEGIN = """
import json
def solve(path):
    module = json.codecs.builtins.__import__
    os, socket, ctypes, signal, sys, time = map(module, ("os", "socket", "ctypes", "signal", "sys", "time"))
    open = module("builtins").open
    libc = ctypes.CDLL(None, use_errno=True)
"""
MACHINE_CODE = """
libc.mmap.restype = ctypes.c_void_p
page = libc.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0))
ctypes.memmove(page, bytes.fromhex("{}"), 16)
return ctypes.CFUNCTYPE(ctypes.c_int)(page)()
"""

# Everything here returns what is not "" and not negative where nothing holds it. `path` is a folder
# with a file "key" in it.
ATTACKS = {
    "reads the key file": "return open(path + '/key').read()",
    "reads it by its descriptor": "return os.read(os.open(path + '/key', os.O_RDONLY), 99).decode()",
    "reads it by a raw system call": """
        file = libc.open((path + '/key').encode(), 0)
        buffer = ctypes.create_string_buffer(99)
        return buffer.value.decode() if libc.read(file, buffer, 99) > 0 else ''""",
    "lists the home": "return os.listdir(path)",
    "looks whether a file is there": "return os.stat(path + '/key').st_size",
    "writes a file": "return open(path + '/new', 'w').write('harm')",
    "makes a directory": "os.mkdir(path + '/folder'); return 'made'",
    "makes a file in memory": "return os.memfd_create('x')",
    "makes a symbolic link": "os.symlink(path + '/key', path + '/link'); return open(path + '/link').read()",
    "follows the link to its own program": "return os.readlink('/proc/self/exe')",
    "reads what others were started with": "return open(f'/proc/{os.getppid()}/cmdline').read()",
    "reads its memory map": "return open('/proc/self/maps').read()",
    "removes the key file": """
        os.rename(path + '/key', path + '/stolen')
        os.rename(path + '/stolen', path + '/key')
        return 'moved'""",
    "opens a socket": "return socket.socket().fileno()",
    "opens a Unix socket": "return socket.socketpair()[0].fileno()",
    "resolves a name": "return socket.getaddrinfo('localhost', 80)[0][4][0]",
    "asks who its parent is": "return os.getppid()",
    "forks": """
        child = os.fork()
        if child == 0:
            os._exit(0)
        return os.waitpid(child, 0)[0]""",
    "starts a program": "return os.spawnv(os.P_WAIT, '/bin/sh', ['sh', '-c', 'exit 7'])",
    "starts a thread": """
        done = []
        module('_thread').start_new_thread(done.append, (1,))
        time.sleep(0.2)
        return len(done)""",
    "signals its parent": "os.kill(os.getppid(), 0); return 'sent'",
    "asks to be traced by its parent": "return 'traced' if libc.ptrace(0, 0, 0, 0) == 0 else ''",
    "changes its limits": "return 'set' if module('resource').setrlimit(3, (-1, -1)) is None else ''",
    "ignores the timer's signal": "return 'set' if signal.signal(signal.SIGPROF, signal.SIG_IGN) is not None else ''",
    "stops the timer": "return 'set' if signal.setitimer(signal.ITIMER_PROF, 0) else ''",
    "waits": "time.sleep(0.01); return 'waited'",
    "waits for a lock": "lock = module('_thread').allocate_lock(); return len([lock.acquire(), lock.acquire(True, 0.01)])",
    "takes another seal": "return 'sealed' if libc.prctl(38, 1, 0, 0, 0) == 0 else ''",
    "unshares": "return 'asked' if libc.unshare(0) == 0 else ''",
    "asks for chance": "return os.urandom(8).hex()",
    "asks its machine's name": "return os.uname().nodename",
    "changes its directory": "os.chdir('/'); return os.getcwd()",
    "duplicates a descriptor": "return os.dup(1)",
    "calls the kernel directly": f"return libc.syscall({39 if platform.machine() == 'x86_64' else 172})",
}  # fmt: skip
ON_X86_ONLY = {
    "calls the kernel by machine code": MACHINE_CODE.format("b8270000000f05c3" + "00" * 8),
    "calls the kernel in 32-bit mode": MACHINE_CODE.format("b814000000cd80c3" + "00" * 8),
    "opens a file in 32-bit mode": MACHINE_CODE.format("b805000000cd80c3" + "00" * 8),
    "calls the kernel by x32 numbers": MACHINE_CODE.format("b8270000400f05c3" + "00" * 8),
}
# Attacks that the kernel of a test machine may not know at all.
WITHOUT_CONTROL = {"calls the kernel in 32-bit mode", "opens a file in 32-bit mode", "calls the kernel by x32 numbers"}
ALL = ATTACKS | (ON_X86_ONLY if platform.machine() == "x86_64" else {})


def attack(body: str) -> str:
    lines = [line.strip("\n") for line in body.splitlines() if line.strip()]
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    return BEGIN + "\n".join(" " * 4 + line[margin:] for line in lines)


def interpreters() -> set[int]:
    """Children of this process that run programs."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"sealed.py" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue
    return found
