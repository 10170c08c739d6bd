"""checkov finds nothing in terraform/ but what its skip list gives a reason for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.terraform import hcl

CONFIG = hcl.ROOT / ".checkov.yaml"
CHECKOV = Path(sys.prefix) / "checkov/bin/checkov"
SKIP = re.compile(r"^  - (CKV2?_\w+)(?: # (.+))?$", re.MULTILINE)


def test_checkov_finds_exactly_what_is_skipped_for_a_reason(tmp_path: Path) -> None:
    assert CHECKOV.exists(), "checkov has an environment of its own: `make .venv/checkov/.setup-done`"
    skips = dict(SKIP.findall(CONFIG.read_text(encoding="utf-8")))
    assert skips and all(skips.values()), f"a skip without its reason: {skips}"

    copy = tmp_path / "terraform"
    shutil.copytree(hcl.ROOT, copy, ignore=shutil.ignore_patterns(".*", "tests", "*.md"))
    # An example is nothing but a call of the root module, which is evaluated anew for each: the one with a cluster
    # finds what all do, in half the time.
    for example in (copy / "examples").iterdir():
        if example.name != "gke":
            shutil.rmtree(example)
    (copy / ".checkov.yaml").write_text(SKIP.sub("", CONFIG.read_text(encoding="utf-8")), encoding="utf-8")
    done = subprocess.run(
        [CHECKOV, "-d", "terraform", "-o", "json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr  # there are findings: the skipped ones
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["resource_count"] > 50
    found_in = {each["resource"] for each in report["results"]["failed_checks"]}
    assert "module.platform.module.gke.google_container_node_pool.tpu" in found_in  # it cannot evaluate every for_each

    findings: dict[str, set[str]] = {}
    for each in report["results"]["failed_checks"]:
        finding = f"{each['resource']} in {each['file_path']}: {each['check_name']}"
        findings.setdefault(each["check_id"], set()).add(finding)
    assert {id_: sorted(found) for id_, found in findings.items() if id_ not in skips} == {}
    assert set(skips) - set(findings) == set(), "skipped, but checkov does not find it any more"
