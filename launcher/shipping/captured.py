"""Captured environment variables: which are taken, and the search that keeps their values out of uploads."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from collections.abc import Iterable, Mapping, Sequence

from launcher.errors import PackagingError
from launcher.shipping.cache import Cache

# A shorter value ("1", "alice", "us-east1") is found in half of all projects: refusing those would only teach
# people to switch the search off. Keys, tokens and passwords that protect anything are longer.
MIN_SEARCHED_BYTES = 8

# What describes this machine, this login or this terminal. A glob never takes it; an exact name does.
_MACHINE_LOCAL_GLOBS = """
    PATH HOME PWD OLDPWD SHELL SHLVL USER USERNAME LOGNAME HOST HOSTNAME HOSTTYPE MAIL TMP TEMP TMPDIR TZ _
    LANG LANGUAGE LC_* TERM TERM_* TERMINFO* COLORTERM COLUMNS LINES LS_COLORS LESS* PAGER EDITOR VISUAL BROWSER
    DISPLAY WAYLAND_* XDG_* DBUS_* DESKTOP_* GDM* GTK_* QT_* GNOME_* KDE_* WINDOWID WINDOWPATH SESSION_MANAGER
    SSH_* GPG_* SUDO_* LD_* DYLD_* PYTHON* VIRTUAL_ENV* CONDA* PYENV* PIP_* UV UV_* POETRY_* PDM_* PIPX_*
    BASH* ZSH* FISH* PS1 PS2 PROMPT* HIST* IFS MANPATH INFOPATH FPATH CDPATH NVM_* NODE_* PKG_CONFIG* LIBRARY_PATH
    TMUX* STY BYOBU* VSCODE_* ITERM_* ALACRITTY_* KITTY_* VTE_* JPY_* IPY* JUPYTER* PYTEST_* COVERAGE*
    SYSTEMD_* INVOCATION_ID JOURNAL_STREAM WSL* MAKE* MFLAGS DEBUGINFOD_*
    *_PROXY *_proxy SSL_CERT_* REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NIX_*
    GOOGLE_APPLICATION_CREDENTIALS CLOUDSDK_* GCE_METADATA_* STORAGE_EMULATOR_HOST LAUNCHER_*
    CUDA_* NVIDIA_* TPU_* MEGASCALE_* JAX_PLATFORM* XLA_FLAGS
"""
_MACHINE_LOCAL = tuple(_MACHINE_LOCAL_GLOBS.split())


@dataclasses.dataclass(frozen=True)
class Captured:
    """Values by name (never shown), and the patterns that matched nothing."""

    values: dict[str, str] = dataclasses.field(repr=False)
    unmatched: tuple[str, ...]


def capture(patterns: Sequence[str], environment: Mapping[str, str] | None = None) -> Captured:
    """The variables that the patterns (names and globs) name, from here. PackagingError for one that is not text."""
    environment = os.environ if environment is None else environment
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
    return Captured(dict(sorted(values.items())), tuple(unmatched))


def _machine_local(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in _MACHINE_LOCAL)


class Search:
    """Looks for values in streams. `macs` names the values to the cache: keyed hashes, never the values."""

    def __init__(self, values: Mapping[str, str], cache: Cache) -> None:
        encoded = {name: value.strip().encode() for name, value in values.items()}
        self._values = {name: value for name, value in encoded.items() if len(value) >= MIN_SEARCHED_BYTES}
        self._longest = max(map(len, self._values.values()), default=0)
        self.macs = {name: cache.mac(value) for name, value in self._values.items()}

    def __bool__(self) -> bool:
        return bool(self._values)

    def without(self, macs: Iterable[str]) -> Search:
        """The same search for those values only that are not among `macs`."""
        seen = set(macs)
        rest = object.__new__(Search)
        rest._values = {name: value for name, value in self._values.items() if self.macs[name] not in seen}
        rest._longest = max(map(len, rest._values.values()), default=0)
        rest.macs = {name: self.macs[name] for name in rest._values}
        return rest

    def stream(self) -> SearchedStream:
        return SearchedStream(self._values, self._longest)

    def refuse(self, data: bytes, where: str, fix: str) -> None:
        """PackagingError where `data` holds one of the values."""
        stream = self.stream()
        stream.feed(data)
        if stream.found:
            raise found_error(stream.found, where, fix)


class SearchedStream:
    """One stream in pieces. `found`: the name of the first variable whose value was in it, or ""."""

    def __init__(self, values: Mapping[str, bytes], longest: int) -> None:
        self._values = values
        self._keep = longest - 1
        self._tail = b""
        self.found = ""

    def feed(self, data: bytes) -> None:
        if self._keep < 0 or self.found:
            return
        # The seam first, so that a large piece is not copied just to be joined with the last one's end.
        for piece in (self._tail + data[: self._keep], data):
            for name, value in self._values.items():
                if value in piece:
                    self.found = name
                    return
        self._tail = (self._tail + data)[-self._keep :] if len(data) < self._keep else data[len(data) - self._keep :]


def found_error(name: str, where: str, fix: str) -> PackagingError:
    return PackagingError(
        f"the value of the captured variable {name} is in {where}, so it would be in the bucket. Fix: {fix}"
    )
