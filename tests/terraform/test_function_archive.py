"""The archive that Terraform makes of the functions' sources: always the same bytes, and what archive.py cuts."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path

from launcher.functions.archive import function_archive
from tests.terraform.conftest import Run
from tests.terraform.harness import ROOT, copied

MODULE = "modules/idle-shutdown"
ACCOUNT = {"email": "a@p.iam.gserviceaccount.com", "member": "serviceAccount:a@p.iam.gserviceaccount.com", "name": "a"}
VARIABLES = {
    "accounts": dict.fromkeys(("build", "idle_shutdown", "scheduler"), ACCOUNT),
    "control_bucket": "demo-project-tpu-control",
    "jobs_bucket": "demo-project-tpu-jobs",
    "name": "tpu",
    "project_id": "demo-project",
    "region": "us-central1",
    "zones": ["us-central1-a"],
}


def contents(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {each.filename: opened.read(each) for each in opened.infolist()}


def test_it_is_the_same_wherever_and_whenever_terraform_makes_it(terraform: Run, tmp_path: Path) -> None:
    """Also from a copy of the sources with other times and modes, and what a run leaves in them."""
    here, elsewhere = copied(tmp_path / "here"), copied(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/launcher").unlink()
    for path in sorted((ROOT / "launcher").rglob("*.*")):
        copy = tmp_path / "elsewhere/launcher" / path.relative_to(ROOT / "launcher")
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(0o600)
            os.utime(copy, (1e9, 1e9))
    (tmp_path / "elsewhere/launcher/records/notes.txt").write_text("of no use to a function")
    made, names = [], []
    for folder in (here, elsewhere):
        plan = terraform(folder / MODULE).init().plan(**VARIABLES)
        (archive,) = (folder / MODULE / ".build").iterdir()
        made.append(archive.read_bytes())
        changes = {each["address"]: each["change"]["after"] for each in plan["resource_changes"]}
        names.append(changes["google_storage_bucket_object.archive"]["name"])
    assert made[0] == made[1]
    assert names[0] == names[1]
    assert contents(made[0]) == contents(function_archive())


def test_another_source_is_another_object(terraform: Run, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (tmp_path / "launcher").unlink()
    shutil.copytree(ROOT / "launcher", tmp_path / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    names = set()
    for line in ("", "# changed\n"):
        with (tmp_path / "launcher/fleet/reaper.py").open("a") as source:
            source.write(line)
        plan = terraform(folder / MODULE).init().plan(**VARIABLES)
        names |= {
            each["change"]["after"]["name"]
            for each in plan["resource_changes"]
            if each["address"] == "google_storage_bucket_object.archive"
        }
    assert len(names) == 2
