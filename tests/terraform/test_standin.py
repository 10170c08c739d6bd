"""The stand-in provider in itself, as Terraform sees it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.conftest import Run
from tests.terraform.harness import ROOT, Terraform
from tests.terraform.standin import wire
from tests.terraform.standin.protocol import RPC
from tests.terraform.standin.values import UNKNOWN, dump, load

HEAD = """
terraform {
  required_providers {
    archive     = { source = "hashicorp/archive", version = "~> 2.7" }
    google      = { source = "hashicorp/google", version = ">= 7.33, < 9" }
    google-beta = { source = "hashicorp/google-beta", version = ">= 7.33, < 9" }
  }
}
"""
Module = Callable[[str], Terraform]


@pytest.fixture
def module(terraform: Run, tmp_path: Path) -> Module:
    """A module of this text, initialised."""

    def make(text: str) -> Terraform:
        folder = tmp_path / "module"
        folder.mkdir(exist_ok=True)
        (folder / "main.tf").write_text(HEAD + textwrap.dedent(text))
        return terraform(folder).init()

    return make


def created(plan: dict[str, Any], address: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what is known, what is known after apply) of a resource in a plan."""
    (change,) = [each["change"] for each in plan["resource_changes"] if each["address"] == address]
    return change["after"], change["after_unknown"]


ACCOUNT = """
resource "google_service_account" "this" {
  project    = "demo-project"
  account_id = "tpu-worker"
}
"""


def test_what_google_fills_in_is_unknown_first_and_then_in_its_form(module: Module) -> None:
    here = module(
        ACCOUNT
        + """
        data "google_project" "this" { project_id = "demo-project" }
        resource "google_compute_network" "this" {
          project = "demo-project"
          name    = "tpu"
        }
        resource "google_cloudfunctions2_function" "this" {
          project  = "demo-project"
          location = "us-central1"
          name     = "reaper"
          service_config { max_instance_count = 1 }
        }
        resource "google_project_iam_member" "this" {
          project = "demo-project"
          role    = "roles/logging.logWriter"
          member  = google_service_account.this.member
        }
        output "all" {
          value = [
            data.google_project.this.number,
            google_service_account.this.email,
            google_compute_network.this.id,
            google_compute_network.this.self_link,
            google_cloudfunctions2_function.this.service_config[0].service,
            google_cloudfunctions2_function.this.service_config[0].uri,
            google_project_iam_member.this.id,
          ]
        }
        """
    )
    known, unknown = created(here.plan(), "google_service_account.this")
    assert known["account_id"] == "tpu-worker" and unknown["email"] and unknown["member"] and unknown["id"]
    here.apply()
    number, email, network, self_link, service, uri, member = here.outputs()["all"]
    assert (number, email) == ("123456789012", "tpu-worker@demo-project.iam.gserviceaccount.com")
    assert network == "projects/demo-project/global/networks/tpu"
    assert self_link == f"https://www.googleapis.com/compute/v1/{network}"
    assert service == "projects/demo-project/locations/us-central1/services/reaper"
    assert uri.startswith("https://reaper-") and uri.endswith("-uc.a.run.app")
    assert member == f"demo-project/roles/logging.logWriter/serviceAccount:{email}"
    assert here.changes() == {}
    here.destroy()


def test_what_the_provider_block_says_is_a_default(module: Module) -> None:
    here = module(
        """
        provider "google" {
          project        = "demo-project"
          region         = "us-central1"
          default_labels = { team = "red" }
        }
        provider "google" {
          alias                           = "other"
          project                         = "other-project"
          add_terraform_attribution_label = false
        }
        resource "google_pubsub_topic" "this" {
          name   = "topic"
          labels = { kind = "budget" }
        }
        resource "google_pubsub_topic" "other" {
          provider = google.other
          name     = "topic"
        }
        """
    )
    plan = here.plan()
    known, _ = created(plan, "google_pubsub_topic.this")
    assert (known["project"], known["labels"]) == ("demo-project", {"kind": "budget"})
    assert known["effective_labels"] == {"kind": "budget", "team": "red", "goog-terraform-provisioned": "true"}
    known, _ = created(plan, "google_pubsub_topic.other")
    assert (known["project"], known["effective_labels"]) == ("other-project", {})


def test_a_resource_without_a_project_is_refused(module: Module) -> None:
    ran = module('resource "google_pubsub_topic" "this" { name = "topic" }').run("apply", "-auto-approve", "-no-color")
    assert ran.code == 1 and "project: required field is not set" in ran.err


def test_some_changes_replace_and_some_update(module: Module) -> None:
    text = """
    resource "google_storage_bucket" "this" {
      project  = "demo-project"
      name     = "demo-bucket"
      location = "%s"
      labels   = { a = "%s" }
    }
    """
    here = module(text % ("us-central1", "x"))
    here.apply()
    module(text % ("US-CENTRAL1", "x"))
    assert here.changes() == {}
    module(text % ("us-central1", "y"))
    assert here.changes() == {"google_storage_bucket.this": "update"}
    module(text % ("us-west4", "x"))
    assert here.changes() == {"google_storage_bucket.this": "delete, create"}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (ACCOUNT.replace("tpu-worker", "w"), "account_id: 'w' is refused"),
        ('resource "google_compute_network" "n" { name = "Upper" }', "name: 'Upper' is refused"),
        (
            'resource "google_project_iam_member" "m" {\n  project = "p"\n  role = "r"\n  member = "me@example.com"\n}',
            "member: 'me@example.com' is refused",
        ),
        (
            'resource "google_storage_bucket_object" "o" {\n  bucket = "b"\n  name = "n"\n}',
            "exactly one of content, source must be given, not 0",
        ),
        (
            'resource "google_storage_bucket" "b" {\n  name = "b"\n  location = "x"\n  lifecycle_rule {\n'
            '    action { type = "Delete" }\n    condition { with_state = "DEAD" }\n  }\n}',
            "with_state: expected one of LIVE, ARCHIVED, ANY, got 'DEAD'",
        ),
        ('resource "google_pubsub_topic" "t" {\n  name = "t"\n  nonsense = 1\n}', "Unsupported argument"),
    ],
)
def test_what_googles_provider_refuses_is_refused(module: Module, body: str, sentence: str) -> None:
    here = module(body)
    found = json.loads(here.run("validate", "-json").out)
    assert not found["valid"]
    assert any(sentence in each["summary"] for each in found["diagnostics"]), found["diagnostics"]
    with pytest.raises(AssertionError):
        here.validate()


def test_what_is_protected_is_not_destroyed(module: Module) -> None:
    text = """
    resource "google_pubsub_topic" "this" {
      project         = "demo-project"
      name            = "topic"
      deletion_policy = "%s"
    }
    """
    here = module(text % "PREVENT")
    here.apply()
    ran = here.run("destroy", "-auto-approve", "-no-color")
    assert ran.code == 1 and "because deletion_policy is PREVENT" in ran.err
    module(text % "DELETE").apply()
    here.destroy()


def test_functions_of_the_provider(module: Module) -> None:
    here = module('output "region" { value = provider::google::region_from_zone("us-west4-a") }')
    here.apply()
    assert here.outputs() == {"region": "us-west4"}


# --- archives -----------------------------------------------------------------------------------------------

ARCHIVE = """
data "archive_file" "this" {
  type             = "zip"
  output_path      = "${path.module}/build/out.zip"
  output_file_mode = "0644"
  %s
}
output "all" { value = data.archive_file.this }
"""
SOURCES = "".join(f'source {{\n filename = "{name}"\n content = "{name}!"\n}}\n' for name in ("b/c.py", "a.py"))


def test_an_archive_is_a_real_one_and_always_the_same(module: Module) -> None:
    here = module(ARCHIVE % SOURCES)
    here.apply()
    path = here.folder / "build/out.zip"
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        assert [each.filename for each in entries] == ["a.py", "b/c.py"]
        assert {(each.date_time, each.external_attr >> 16) for each in entries} == {((2049, 1, 1, 0, 0, 0), 0o100644)}
        assert archive.read("b/c.py") == b"b/c.py!"
    said = here.outputs()["all"]
    assert said["output_md5"] == hashlib.md5(data).hexdigest() and said["output_size"] == len(data)
    assert said["output_base64sha256"] == base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert (said["id"], said["output_sha"]) == (hashlib.sha1(data).hexdigest(),) * 2
    path.unlink()
    assert here.changes() == {}
    assert path.read_bytes() == data


def test_an_archive_of_a_folder_leaves_out_what_is_excluded(module: Module) -> None:
    here = module(ARCHIVE % 'source_dir = "src"\n excludes = ["tests", "**/__pycache__", "*.md"]')
    for name in ("main.py", "a/b.py", "a/__pycache__/b.pyc", "tests/test.py", "README.md", "a/README.md"):
        (here.folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (here.folder / "src" / name).write_text(name)
    here.apply()
    with zipfile.ZipFile(here.folder / "build/out.zip") as archive:
        assert archive.namelist() == ["a/README.md", "a/b.py", "main.py"]


def test_an_empty_archive_is_refused(module: Module) -> None:
    ran = module(ARCHIVE % "").run("plan", "-no-color")
    assert ran.code == 1 and "archive has not been created as it would be empty" in ran.err


# --- the wire -----------------------------------------------------------------------------------------------


def test_a_message_survives_the_wire() -> None:
    spec = RPC["PlanResourceChange"][1]
    message = {
        "planned_state": dump({"a": UNKNOWN, "b": [None, 1.5, "ü"], "c": {}}),
        "requires_replace": [{"steps": [{"attribute_name": "a"}, {"element_key_int": 0}]}],
        "legacy_type_system": True,
    }
    assert wire.decode(spec, wire.encode(spec, message)) == message
    assert load(message["planned_state"]) == {"a": UNKNOWN, "b": [None, 1.5, "ü"], "c": {}}
    newer = {**spec, "other": (99, "string"), "number": (98, "int")}
    assert wire.decode(spec, wire.encode(newer, {**message, "other": "x", "number": -1})) == message
    assert wire.decode(newer, wire.encode(newer, {"number": -1})) == {"number": -1}


def test_it_ends_with_its_input() -> None:
    command = [sys.executable, "-m", "tests.terraform.standin"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write('{"cwd": "/", "env": {}}\n')
        process.stdin.flush()
        assert "registry.terraform.io/hashicorp/google" in json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(30) == 0
