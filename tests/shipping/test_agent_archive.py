from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from launcher.shipping.agent_archive import agent_archive


def test_it_is_always_the_same() -> None:
    first = agent_archive()
    agent_archive.cache_clear()
    assert agent_archive() == first


def test_it_holds_what_a_worker_needs_and_no_more() -> None:
    with zipfile.ZipFile(io.BytesIO(agent_archive())) as archive:
        names = archive.namelist()
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert names == sorted(names)
    assert {"__main__.py", "launcher/__init__.py", "launcher/errors.py", "launcher/records/codec.py"} <= set(names)
    assert {name.split("/")[1] for name in names if name.count("/") == 2} == {"records", "agent"}


def test_it_works_with_the_standard_library_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.pyz"
    path.write_bytes(agent_archive())
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import zipfile, importlib, launcher, launcher.errors\n"
        "names = [n[:-3].replace('/', '.') for n in zipfile.ZipFile(sys.argv[1]).namelist()]\n"
        "for n in names:\n"
        "    if n.startswith(('launcher.records.', 'launcher.agent.')) and not n.endswith(('__init__', '__main__')):\n"
        "        try:\n"
        "            importlib.import_module(n)\n"
        "        except ModuleNotFoundError as exc:\n"
        "            assert exc.name == 'cloudpickle', exc  # the runner's, which the environment has\n"
        "print(launcher.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(path)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == f"{path}/launcher/__init__.py"
