"""The functions' archive: always the same, and nothing in it that they do not need."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from launcher.functions import archive
from launcher.functions.archive import function_archive
from tests.functions.serving import ZONE, Site, site

__all__ = ["site"]


def test_the_archive_is_always_the_same(tmp_path: Path) -> None:
    """Also from a copy of the sources with other times and modes."""
    for path in archive._PACKAGE.rglob("*.*"):
        if path.suffix in (".json", ".py", ".txt") and path.is_file():
            copy = tmp_path / "elsewhere" / "launcher" / path.relative_to(archive._PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o600)
            os.utime(copy, (1e9, 1e9))
    out = tmp_path / "new folder" / "out.zip"
    command = [sys.executable, "-m", "launcher.functions.archive", str(out)]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere")}
    subprocess.run(command, cwd=tmp_path / "elsewhere", env=env, check=True)
    assert out.read_bytes() == function_archive()
    with zipfile.ZipFile(out) as opened:
        entries = opened.infolist()
    assert [each.filename for each in entries] == sorted(each.filename for each in entries)
    assert {(each.date_time, each.external_attr >> 16) for each in entries} == {((1980, 1, 1, 0, 0, 0), 0o100644)}


def test_the_archive_command_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-m", "launcher.functions.archive"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (2, b"usage: python -m launcher.functions.archive OUT.zip\n")


_LOADING = """\
import json, sys
sys.path.insert(0, sys.argv[1])
opened = set()
sys.addaudithook(lambda event, given: opened.add(str(given[0])) if event == "open" else None)
import main
settings = main._settings(json.loads(sys.argv[2]))
settings.platform.store, settings.platform.nodes, settings.platform.clusters
print(json.dumps([sorted(opened), sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_it_holds_what_it_needs_and_no_more(site: Site) -> None:
    """In an environment of its own requirements, main.py and its seams read every file of it, and none of ours else."""
    env = {"PROJECT": "p", "ZONES": ZONE, "BUCKET": "b", "PLATFORM": "p", "CALLER": "c", "CREDENTIALS": "anonymous"}
    command = [site.python, "-I", "-B", "-c", _LOADING, str(site.folder), json.dumps(env)]
    done = subprocess.run(command, cwd=site.folder, capture_output=True, text=True, check=True)
    opened, packages = json.loads(done.stdout)
    there = {str(path) for path in site.folder.rglob("*.py")}
    assert there - set(opened) == set()
    assert [each for each in opened if "/launcher/" in each and each.endswith(".py") and each not in there] == []
    assert not {"click", "paramiko", "rich", "cloudpickle", "python_terraform"} & set(packages)


def test_its_requirements_are_pinned_with_hashes_to_the_versions_that_were_tested() -> None:
    root = Path(archive.__file__).parents[2]
    pin = re.compile(r"^([a-z0-9-]+)==([^\s;]+)", re.MULTILINE)
    needed = (root / "launcher/functions/requirements.txt").read_text()
    tested = dict(pin.findall((root / "requirements/dev.txt").read_text()))
    pins = pin.findall(needed)
    assert {"functions-framework", "google-cloud-storage", "google-cloud-tpu"} <= {name for name, _ in pins}
    assert [(name, tested.get(name)) for name, _ in pins] == pins
    assert len(re.split(r"\n(?=[a-z0-9])", needed)) == len(pins) and needed.count("--hash=sha256:") >= len(pins)
