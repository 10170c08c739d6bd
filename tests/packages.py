"""Packages and Pythons to install, made here: wheels, a mirror of interpreters, a repository that asks who is there."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Path:
    """A wheel with nothing but a module and its declarations."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Provides-Extra: {extra}\n" for extra in extras)
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def python_mirror(folder: Path) -> dict[str, str]:
    """A mirror with one Python to install, which hands over to the one that runs the tests; uv's settings for it."""
    version = platform.python_version()
    root, library = folder / "python", folder / "python" / "lib" / f"python{PYTHON}"
    for each in (root / "bin", library, folder / "mirror" / "20990101"):
        each.mkdir(parents=True)
    program = root / "bin" / f"python{PYTHON}"
    program.write_text(f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} "$@"\n')
    program.chmod(0o755)
    (root / "bin" / "python3").symlink_to(program.name)
    comment = "# system configuration generated and used by the sysconfig module"  # uv insists
    sysconfig = library / "_sysconfigdata__linux_x86_64-linux-gnu.py"
    sysconfig.write_text(f"{comment}\nbuild_time_vars = {{}}\n")
    archive = folder / "mirror" / "20990101" / "python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root, "python")
    entry = {
        "name": "cpython",
        "arch": {"family": "x86_64", "variant": None},
        "os": "linux",
        "libc": "gnu",
        **{name: int(part) for name, part in zip(("major", "minor", "patch"), version.split("."), strict=True)},
        "prerelease": "",
        "url": "https://github.com/astral-sh/python-build-standalone/releases/download/20990101/python.tar.gz",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "variant": None,
        "build": "20990101",
    }
    (folder / "downloads.json").write_text(json.dumps({f"cpython-{version}-linux-x86_64-gnu": entry}))
    return {
        "UV_PYTHON_INSTALL_MIRROR": f"file://{folder / 'mirror'}",
        "UV_PYTHON_DOWNLOADS_JSON_URL": str(folder / "downloads.json"),
        "UV_MANAGED_PYTHON": "1",  # as where the machine has no such Python
    }


def download(lock: str, folder: Path) -> None:
    """The wheels that a lock names, from where this machine has its packages."""
    path = folder / "lock.txt"
    path.write_text(lock)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--dest", str(folder), "--requirement", str(path)], check=True)


class PackageIndex:
    """The wheels of a folder, as Artifact Registry serves a Python repository: only to who has an access token.

    A context manager. `token`: a pattern. `served`: the names of the files that were fetched.
    """

    def __init__(self, folder: Path, token: str) -> None:
        wheels = {each.name: each.read_bytes() for each in folder.glob("*.whl")}
        credentials = re.compile(f"oauth2accesstoken:{token}")
        self.served = served = []  # type: list[str]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = 404, b""
                place, _, name = self.path.strip("/").partition("/")
                given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
                if not credentials.fullmatch(given):
                    status = 401
                elif place == "files" and name in wheels:
                    status, body = 200, wheels[name]
                    served.append(name)
                elif place == "simple":
                    files = [each for each in wheels if each.startswith(name.replace("-", "_") + "-")]
                    status = 200 if files else 404
                    body = "".join(f'<a href="/files/{each}">{each}</a>' for each in files).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if place == "simple" else "application/octet-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/simple/"

    def __enter__(self) -> PackageIndex:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
