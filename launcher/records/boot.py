"""The few lines that bring the agent to a worker: what the client runs there before anything of ours arrived."""

from __future__ import annotations

#: `python3 -I -S -c BOOT <sha256> <size> <mode> [arguments]`. Says `have` or `want` on a line; after `want` it reads
#: exactly `size` bytes of archive from standard input. Then it becomes `python3 -I -S <archive> <mode> [arguments]`,
#: which finds the rest of standard input unread.
BOOT = """\
import hashlib, os, sys
digest, size = sys.argv[1], int(sys.argv[2])
folder = os.path.join(os.path.expanduser("~"), ".launcher", "agent")
os.umask(0o077)
os.makedirs(folder, exist_ok=True)
path = os.path.join(folder, digest + ".pyz")
try:
    with open(path, "rb") as file:
        have = hashlib.sha256(file.read()).hexdigest() == digest
except FileNotFoundError:
    have = False
os.write(1, b"have\\n" if have else b"want\\n")
if not have:
    parts, missing = [], size
    while missing:
        part = os.read(0, min(missing, 65536))
        if not part:
            sys.exit("launcher: the agent's archive ended %d bytes early" % missing)
        parts.append(part)
        missing -= len(part)
    data = b"".join(parts)
    if hashlib.sha256(data).hexdigest() != digest:
        sys.exit("launcher: the agent's archive arrived damaged")
    temporary = "%s.tmp-%d" % (path, os.getpid())
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
os.execv(sys.executable, [sys.executable, "-I", "-S", path, *sys.argv[3:]])
"""
