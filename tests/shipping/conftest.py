"""Folders, a package index and a bucket of these tests' own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from launcher.cloud.seams import ObjectInfo
from launcher.shipping.blobs import of_bytes
from launcher.shipping.cache import Cache, open_cache
from launcher.shipping.environment import cloudpickle_pin
from tests.packages import wheel

Tree = Callable[[dict[str, str | bytes]], Path]


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for tests that do not look into it: uv for the workers is packed once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty one."""
    return open_cache(tmp_path / "cache")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Makes a project of files; a name that ends in a slash is an empty folder."""

    def make(files: dict[str, str | bytes]) -> Path:
        root = tmp_path / "project"
        root.mkdir(exist_ok=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content)
        return root

    return make


class MemoryBucket:
    """The part of an object store that uploads need. `sent`: names of the uploads that were made; `asked`: of stats."""

    bucket = "jobs"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.asked: list[str] = []

    def stat(self, name: str) -> ObjectInfo | None:
        self.asked.append(name)
        if name not in self.objects:
            return None
        data = self.objects[name]
        return ObjectInfo(name, len(data), of_bytes(data).crc32c, 1, 0.0)

    def upload(self, name: str, source: BinaryIO, size: int, crc32c: str = "") -> bool:
        data = source.read()
        assert len(data) == size and of_bytes(data).crc32c == crc32c
        if name in self.objects:
            return False
        self.sent.append(name)
        self.objects[name] = data
        return True


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package index in a folder: a `jax` whose tpu extra needs `libtpu`, and what it depends on."""
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("0.9.0", "0.10.2"):
        wheel(folder, "jax", version, ("arrays", 'libtpu==0.1; extra == "tpu"'), ("tpu",))
    wheel(folder, "arrays", "1.0")
    wheel(folder, "arrays", "2.0")
    wheel(folder, "libtpu", "0.1", ("arrays",))
    wheel(folder, "cloudpickle", cloudpickle_pin().partition("==")[2])
    return folder


@pytest.fixture
def index(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """uv knows that index only, and has no network."""
    settings = tmp_path / "uv.toml"
    settings.write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    for name in [each for each in os.environ if each.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CONFIG_FILE", str(settings))
    monkeypatch.setenv("UV_OFFLINE", "1")
    return wheels
