"""Which files of a project stay here: .gitignore, .launcherignore, caches, and what looks like a credential."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re

import pathspec

from launcher.errors import PackagingError

GITIGNORE = ".gitignore"
LAUNCHERIGNORE = ".launcherignore"
CREDENTIAL = "credential-shaped"
VERSION_CONTROL = "version control data"

# Never sent, whatever an ignore file says: rebuilt on the worker or useless there. A folder's name ends in a slash.
_CACHES = re.compile(
    r"(\.venv|node_modules|__pycache__|\.(mypy|pytest|ruff)_cache|\.pytype|\.hypothesis|\.tox|\.nox|\.eggs"
    r"|\.ipynb_checkpoints|\.terraform|\.direnv)/|.*\.py[co]|\.DS_Store"
)
_MARKED_FOLDERS = {"pyvenv.cfg": "virtual environment", "CACHEDIR.TAG": "cache"}
_VERSION_CONTROL = (".git", ".hg", ".svn", ".jj")

# `id_*` means SSH keys: without a suffix, so that a module id_mapping.py still travels.
_CREDENTIAL_GLOBS = """
    .env* *.pem *.key *.p12 *.pfx *.jks *.keystore *.ppk *.kdbx id_rsa* id_dsa* id_ecdsa* id_ed25519*
    .netrc _netrc .npmrc .yarnrc .pypirc .pgpass .htpasswd .git-credentials .vault-token .dockercfg .boto .s3cfg
    kaggle.json credentials.json client_secret*.json application_default_credentials.json
    service-account*.json service_account*.json *.tfstate *.tfstate.* *.tfvars *.tfvars.json
"""
_CREDENTIAL_FILES = re.compile("|".join(map(fnmatch.translate, _CREDENTIAL_GLOBS.split())) + r"|id_[^.]+")
_CREDENTIAL_FOLDERS = re.compile(
    r".*/(\.(aws|azure|gcloud|ssh|gnupg|kube|docker|kaggle|oci|databricks|huggingface)|\.config/gcloud)/"
)


@dataclasses.dataclass(frozen=True)
class Line:
    """One pattern of an ignore file, decided for one entry itself: its parents were decided before it."""

    text: str
    regex: re.Pattern[str]
    ignore: bool

    def matches(self, path: str) -> bool:
        """`path` relative to the ignore file's folder; a folder's ends in a slash."""
        if self.regex.pattern == ".":  # pathspec's translation of `*` and `**`
            return True
        if self.text.endswith("/**"):  # what is below the folder, not the folder
            return self.regex.search(path[: path.rstrip("/").rfind("/") + 1]) is not None
        return any(found.end() == len(path) for found in self.regex.finditer(path))

    @property
    def explicit(self) -> bool:
        """Whether it is `!name`, with at least a part of a name: `!*` is no consent to send credentials."""
        return not self.ignore and bool(self.text.rstrip("/").rpartition("/")[2].strip("!*?"))


@functools.lru_cache(maxsize=4096)
def parse(text: str, place: str) -> tuple[Line, ...]:
    """The patterns of an ignore file. One that is malformed matches nothing, as in git; ours raise PackagingError."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            patterns = list(pathspec.GitIgnoreSpec.from_lines([line]).patterns)
        except ValueError as exc:
            if not place.endswith(LAUNCHERIGNORE):
                continue
            raise PackagingError(f"{place}:{number}: not a valid pattern: {line!r}. Fix or remove this line.") from exc
        for pattern in patterns:
            regex = getattr(pattern, "regex", None)
            if regex is not None and pattern.include is not None:
                lines.append(Line(line.rstrip(), regex, pattern.include))
    return tuple(reversed(lines))  # the last match counts


@dataclasses.dataclass(frozen=True, eq=False)
class Rules:
    """The ignore files that hold inside one folder: its own, then those of its parents.

    `skip` characters of a path are cut off and `above` put in front, to make a path relative to the project's
    root relative to this folder (`above` is used for folders around the root).
    """

    parent: Rules | None
    git: tuple[Line, ...] = ()
    own: tuple[Line, ...] = ()
    skip: int = 0
    above: str = ""
    _decided: dict[str, str | None] = dataclasses.field(default_factory=dict)

    def why_not(self, path: str) -> str | None:
        """Why an entry stays here, None where it is sent. `path` is relative to the root; a folder's ends in a slash.

        Decided once for each path: the same names come again with each call.
        """
        if path not in self._decided:
            self._decided[path] = self._why_not(path)
        return self._decided[path]

    def _why_not(self, path: str) -> str | None:
        name = path.rstrip("/").rpartition("/")[2]
        if _CACHES.fullmatch(name + path[len(path.rstrip("/")) :]):
            return "cache, never sent"
        line = self._last(path, "own")
        if line is not None and line.ignore:
            return f"{LAUNCHERIGNORE}: {line.text}"
        if line is None or not line.explicit:
            if name in _VERSION_CONTROL:
                return VERSION_CONTROL
            if is_credential(path):
                return CREDENTIAL
        if line is not None:
            return None
        line = self._last(path, "git")
        return f"{GITIGNORE}: {line.text}" if line is not None and line.ignore else None

    def _last(self, path: str, kind: str) -> Line | None:
        rules: Rules | None = self
        while rules is not None:
            here = rules.above + path[rules.skip :]
            for line in rules.own if kind == "own" else rules.git:
                if line.matches(here):
                    return line
            rules = rules.parent
        return None


rules = functools.lru_cache(maxsize=4096)(Rules)  # the same object for the same files, with what it decided already


def is_credential(path: str) -> bool:
    """Whether a file or folder looks like one that holds credentials, by its name only."""
    if path.endswith("/"):
        return _CREDENTIAL_FOLDERS.fullmatch(f"/{path}") is not None
    return _CREDENTIAL_FILES.fullmatch(path.rpartition("/")[2].lower()) is not None


def marked_folder(names: set[str]) -> str | None:
    """Why a folder with files of these names is never sent; None where it is an ordinary one."""
    for marker, kind in _MARKED_FOLDERS.items():
        if marker in names:
            return f"{kind}, never sent"
    return None
