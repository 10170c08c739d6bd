"""data.archive_file of hashicorp/archive: a zip of the same bytes whenever its sources are the same."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

from tests.terraform.standin.digests import archive_digests
from tests.terraform.standin.values import Object

_TIME = (2049, 1, 1, 0, 0, 0)  # as in the real one's archives


def archive_file(config: Object, cwd: Path) -> Object:
    """Writes the archive; its state. ValueError where the sources make none."""
    if config["type"] != "zip":
        raise ValueError(f"type: the stand-in makes zip archives only, not {config['type']!r}")
    entries = _entries(config, cwd)
    if not entries:
        raise ValueError("archive has not been created as it would be empty")
    mode = config.get("output_file_mode")
    data = _zip(entries, int(mode, 8) if mode else None)
    path = cwd / config["output_path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {**config, **archive_digests(data)}


def _entries(config: Object, cwd: Path) -> dict[str, tuple[bytes, int]]:
    """{name: (content, mode)}"""
    if config.get("source_dir"):
        return _folder(cwd / config["source_dir"], config.get("excludes") or [])
    if config.get("source_file"):
        path = cwd / config["source_file"]
        if not path.is_file():
            raise ValueError(f"source_file: could not archive missing file: {config['source_file']}")
        return {path.name: (path.read_bytes(), path.stat().st_mode)}
    if config.get("source_content_filename"):
        return {config["source_content_filename"]: (config["source_content"].encode(), 0o644)}
    found: dict[str, tuple[bytes, int]] = {}
    for each in config.get("source") or []:
        if each["filename"] in found:
            raise ValueError(f"source: two blocks with the filename {each['filename']}")
        found[each["filename"]] = (each["content"].encode(), 0o644)
    return found


def _folder(folder: Path, excludes: list[str]) -> dict[str, tuple[bytes, int]]:
    if not folder.is_dir():
        raise ValueError(f"source_dir: could not archive missing directory: {folder}")
    patterns = [re.compile(_regex(each)) for each in excludes]
    found: dict[str, tuple[bytes, int]] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(each.match(f"{name}/") for each in patterns):
            found[name] = (path.read_bytes(), path.stat().st_mode)
    return found


def _regex(glob: str) -> str:
    """Of what a pattern leaves out: with a folder also all that is in it. `**/` stands for any folders."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob.rstrip("/"))
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(special.get(part) or re.escape(part) for part in parts) + "/"


def _zip(entries: dict[str, tuple[bytes, int]], mode: int | None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(entries):
            content, own_mode = entries[name]
            info = zipfile.ZipInfo(name, _TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100000 | (own_mode if mode is None else mode) & 0o777) << 16
            archive.writestr(info, content)
    return out.getvalue()
