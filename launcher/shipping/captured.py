"""Captured environment variables: which are taken, and the search that keeps their values out of uploads."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence

from launcher.errors import PackagingError
from launcher.shipping.cache import Cache

# A shorter value ("1", "alice", "us-east1") is found in half of all projects: refusing those would only teach
# people to switch the search off. Keys, tokens and passwords that protect anything are longer.
MIN_SEARCHED_BYTES = 8

# What describes this machine, this login or this terminal. A glob never takes it; an exact name does.
_MACHINE_LOCAL_GLOBS = """
    PATH HOME PWD OLDPWD SHELL SHLVL USER USERNAME LOGNAME HOST HOSTNAME MAIL TMP TEMP TMPDIR TZ _ LANG LANGUAGE LC_*
    TERM TERM_* COLORTERM COLUMNS LINES LS_COLORS LESS* PAGER EDITOR VISUAL BROWSER DISPLAY WAYLAND_* XDG_* DBUS_*
    SSH_* GPG_* SUDO_* LD_* DYLD_* PYTHON* VIRTUAL_ENV* CONDA* PYENV* PIP_* UV UV_* POETRY_* NODE_* NVM_* BASH* PS1 PS2
    TMUX* VSCODE_* JPY_* IPY* JUPYTER* PYTEST_* SYSTEMD_* INVOCATION_ID JOURNAL_STREAM WSL* MAKE* MFLAGS NIX_*
    *_PROXY *_proxy SSL_CERT_* REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GOOGLE_APPLICATION_CREDENTIALS CLOUDSDK_*
    GCE_METADATA_* STORAGE_EMULATOR_HOST LAUNCHER_* CUDA_* NVIDIA_* TPU_* MEGASCALE_* JAX_PLATFORM* XLA_FLAGS
"""
_MACHINE_LOCAL = tuple(_MACHINE_LOCAL_GLOBS.split())


def capture(patterns: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[dict[str, str], list[str]]:
    """Variables from here by name, for patterns (names and globs), and the patterns that matched nothing.

    PackagingError for a value that is not text.
    """
    values: dict[str, str] = {}
    unmatched = []
    for pattern in patterns:
        if any(sign in pattern for sign in "*?["):
            names = [name for name in environment if fnmatch.fnmatchcase(name, pattern) and not _machine_local(name)]
        else:
            names = [pattern] if pattern in environment else []
        if not names:
            unmatched.append(pattern)
        values |= {name: environment[name] for name in names}
    for name, value in values.items():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise PackagingError(
                f"environment variable {name} is not valid UTF-8, so it cannot be sent. "
                "Fix: leave it out of capture_env_vars, or encode its value (base64)."
            ) from exc
    return dict(sorted(values.items())), unmatched


def _machine_local(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in _MACHINE_LOCAL)


class Search:
    """Looks for values in what is sent. `macs` names the values to the cache: keyed hashes, never the values."""

    def __init__(self, values: Mapping[str, str], cache: Cache) -> None:
        encoded = {name: value.strip().encode() for name, value in values.items()}
        self.values = {name: value for name, value in encoded.items() if len(value) >= MIN_SEARCHED_BYTES}
        self.macs = {cache.mac(value) for value in self.values.values()}

    def stream(self) -> SearchedStream:
        return SearchedStream(self.values)

    def refuse(self, data: bytes, where: str, fix: str) -> None:
        """PackagingError where `data` holds one of the values."""
        stream = self.stream()
        stream.feed(data)
        if stream.found:
            raise found_error(stream.found, where, fix)


class SearchedStream:
    """One stream in pieces. `found`: the name of the first variable whose value was in it, or ""."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = values
        self._keep = max(map(len, values.values()), default=0) - 1
        self._tail = b""
        self.found = ""

    def feed(self, data: bytes) -> None:
        if not self._values or self.found:
            return
        # The seam first, so that a large piece is not copied just to be joined with the last one's end.
        for piece in (self._tail + data[: self._keep], data):
            for name, value in self._values.items():
                if value in piece:
                    self.found = name
                    return
        self._tail = (self._tail + data[-self._keep :])[-self._keep :]


def found_error(name: str, where: str, fix: str) -> PackagingError:
    return PackagingError(
        f"the value of the captured variable {name} is in {where}, so it would be in the bucket. Fix: {fix}"
    )
