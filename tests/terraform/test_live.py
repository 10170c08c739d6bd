"""Resources that act, against the simulator: what they make is there, and what others change shows in the plan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.leftovers import wait_until
from tests.terraform.conftest import Run
from tests.terraform.harness import Terraform, simulator_env
from tests.terraform.standin.cloud import Cloud, Json
from tests.terraform.standin.storage import Bucket
from tests.terraform.test_standin import HEAD

MODULE = """
variable "project_id" {}
variable "text" { default = "one" }
variable "labels" {
  type    = map(string)
  default = { team = "red" }
}
variable "days" { default = 30 }
variable "force_destroy" { default = false }
variable "zone" { default = "us-central1-a" }
resource "google_storage_bucket" "this" {
  project                     = var.project_id
  name                        = "${var.project_id}-live"
  location                    = "us-central1"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = var.labels
  force_destroy               = var.force_destroy
  versioning { enabled = false }
  soft_delete_policy { retention_duration_seconds = 0 }
  lifecycle_rule {
    condition {
      age            = var.days
      matches_prefix = ["staging/"]
    }
    action { type = "Delete" }
  }
  lifecycle_rule {
    condition { age = 1 }
    action { type = "AbortIncompleteMultipartUpload" }
  }
}
resource "google_storage_bucket_object" "this" {
  bucket       = google_storage_bucket.this.name
  name         = "folder/some file.json"
  content      = jsonencode({ text = var.text })
  content_type = "application/json"
}
resource "google_tpu_v2_vm" "this" {
  provider         = google-beta
  project          = var.project_id
  name             = "vm"
  zone             = var.zone
  runtime_version  = "v2-alpha-tpuv5-lite"
  accelerator_type = "v5litepod-1"
  labels           = var.labels
  metadata         = { enable-guest-attributes = "TRUE" }
  scheduling_config { spot = true }
  service_account {
    email = "worker@${var.project_id}.iam.gserviceaccount.com"
    scope = ["https://www.googleapis.com/auth/cloud-platform"]
  }
  network_config {
    network             = "projects/${var.project_id}/global/networks/tpu"
    subnetwork          = "projects/${var.project_id}/regions/us-central1/subnetworks/tpu"
    enable_external_ips = true
  }
}
resource "google_tpu_v2_queued_resource" "this" {
  provider = google-beta
  project  = var.project_id
  name     = "queued"
  zone     = "us-central1-a"
  tpu {
    node_spec {
      parent  = "projects/${var.project_id}/locations/us-central1-a"
      node_id = "queued-0"
      node {
        runtime_version  = "v2-alpha-tpuv5-lite"
        accelerator_type = "v5litepod-1"
        description      = "standing"
        network_config {
          network             = "projects/${var.project_id}/global/networks/tpu"
          subnetwork          = "projects/${var.project_id}/regions/us-central1/subnetworks/tpu"
          enable_external_ips = true
        }
      }
    }
  }
}
"""
BUCKET, OBJECT, VM, QUEUED = (
    "google_storage_bucket.this",
    "google_storage_bucket_object.this",
    "google_tpu_v2_vm.this",
    "google_tpu_v2_queued_resource.this",
)


class World:
    """The module applied to a simulator, and other hands on what it made."""

    def __init__(self, terraform: Run, folder: Path, env: dict[str, str]) -> None:
        self.tpu = Cloud(env["GOOGLE_TPU_V2_CUSTOM_ENDPOINT"], "any")
        self.storage = Cloud(env["GOOGLE_STORAGE_CUSTOM_ENDPOINT"], "any")
        self.project = env["GOOGLE_PROJECT"]
        self.parent = f"projects/{self.project}/locations/us-central1-a"
        self.node = f"{self.parent}/nodes/vm"
        self.bucket = f"b/{self.project}-live"
        folder.mkdir()
        (folder / "main.tf").write_text(HEAD + MODULE)
        self.terraform: Terraform = terraform(folder, env).init()
        self.variables: dict[str, Any] = {"project_id": self.project}

    def apply(self) -> None:
        """Twice the same is nothing."""
        self.terraform.apply(**self.variables)
        assert self.changes() == {}

    def changes(self) -> dict[str, str]:
        return self.terraform.changes(**self.variables)

    def content(self) -> Json:
        return self.storage.call("GET", f"{self.bucket}/o/folder%2Fsome%20file.json", alt="media")

    def queued_state(self) -> str:
        state: str = self.tpu.call("GET", f"{self.parent}/queuedResources/queued")["state"]["state"]
        return state

    def clear(self) -> None:
        for path in (f"{self.parent}/queuedResources/queued", self.node):
            if self.tpu.find(path):
                force = {"force": "true"} if "queued" in path else {}
                self.tpu.wait(self.tpu.call("DELETE", path, None, **force), "deleting")
        Bucket(self.storage).delete({"name": f"{self.project}-live", "force_destroy": True})


@pytest.fixture
def world(terraform: Run, simulator: dict[str, str], tmp_path: Path) -> Iterator[World]:
    world = World(terraform, tmp_path / "module", simulator_env(simulator))
    yield world
    world.clear()


def test_what_is_applied_is_there_and_what_others_do_to_it_shows(world: World) -> None:
    world.apply()
    assert world.content() == {"text": "one"}
    node = world.tpu.call("GET", world.node)
    assert node["labels"] == {"team": "red", "goog-terraform-provisioned": "true"}
    assert node["schedulingConfig"]["spot"] and node["networkConfig"]["enableExternalIps"]
    bucket = world.storage.call("GET", world.bucket)
    assert bucket["labels"] == node["labels"]
    assert bucket["lifecycle"]["rule"][0]["condition"] == {"age": 30, "matchesPrefix": ["staging/"]}
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"

    # What the configuration changes is changed in place.
    world.variables |= {"text": "two", "days": 3, "labels": {"owner": "ada"}}
    assert world.changes() == dict.fromkeys([BUCKET, OBJECT, VM], "update")
    world.apply()
    assert world.content() == {"text": "two"}
    bucket = world.storage.call("GET", world.bucket)
    assert bucket["labels"] == {"owner": "ada", "goog-terraform-provisioned": "true"}
    assert bucket["lifecycle"]["rule"][0]["condition"]["age"] == 3

    # What somebody else changes is to be changed back; what somebody else deletes, to be created.
    world.storage.call("PATCH", world.bucket, {"versioning": {"enabled": True}})
    others = {"labels": {"owner": "bob"}, "metadata": {"startup-script": "echo"}}
    world.tpu.wait(world.tpu.call("PATCH", world.node, others, updateMask="labels,metadata"), "changing")
    assert world.changes() == dict.fromkeys([BUCKET, VM], "update")
    world.apply()
    changed = world.tpu.call("GET", world.node)
    assert changed["labels"]["owner"] == "ada" and changed["metadata"] == {"enable-guest-attributes": "TRUE"}
    # A node that stopped is no change for Terraform, only another fact.
    world.tpu.wait(world.tpu.call("POST", f"{world.node}:stop", {}), "stopping")
    assert world.changes() == {}
    world.terraform.checked("apply", "-refresh-only", "-auto-approve", f"-var=project_id={world.project}")
    assert world.terraform.resources()[VM]["state"] == "STOPPED"
    world.storage.call("DELETE", f"{world.bucket}/o/folder%2Fsome%20file.json")
    world.tpu.wait(world.tpu.call("DELETE", world.node), "deleting")
    assert world.changes() == dict.fromkeys([OBJECT, VM], "create")
    world.apply()


def test_a_live_queued_resource_is_not_destroyed(world: World) -> None:
    world.apply()
    assert wait_until(lambda: world.queued_state() == "ACTIVE")
    ran = world.terraform.run("destroy", "-auto-approve", "-no-color", f"-var=project_id={world.project}")
    assert ran.code == 1
    said = " ".join(re.sub(r"\W*\n\W*", " ", ran.err).split())
    assert "Error when reading or editing QueuedResource: googleapi: Error 400: " in said
    assert "is in state ACTIVE" in said
    assert world.changes() == dict.fromkeys([BUCKET, OBJECT, VM], "create")  # all else is gone
    # The node goes first.
    world.tpu.wait(world.tpu.call("DELETE", f"{world.parent}/nodes/queued-0"), "deleting")
    world.terraform.destroy(**world.variables)
    assert world.tpu.find(f"{world.parent}/queuedResources/queued") is None


def test_a_queued_resource_that_is_gone_is_to_be_created(world: World) -> None:
    world.apply()
    path = f"{world.parent}/queuedResources/queued"
    world.tpu.wait(world.tpu.call("DELETE", path, force="true"), "deleting")
    assert world.changes() == {QUEUED: "create"}


def test_a_bucket_with_objects_of_others_is_not_destroyed(world: World) -> None:
    world.apply()
    url = world.storage.endpoint.replace("/storage/", "/upload/storage/") + f"{world.bucket}/o"
    world.storage.send("POST", url, b"x", "text/plain", {"name": "other", "uploadType": "media"})
    ran = world.terraform.run("destroy", "-auto-approve", "-no-color", f"-var=project_id={world.project}")
    assert "containing objects without `force_destroy` set to true" in " ".join(ran.err.split())
    world.variables["force_destroy"] = True
    world.terraform.apply(**world.variables)
    world.tpu.wait(world.tpu.call("DELETE", f"{world.parent}/nodes/queued-0"), "deleting")
    world.terraform.destroy(**world.variables)
    assert world.storage.find(world.bucket) is None


def test_googles_words_are_told(world: World) -> None:
    world.terraform.init()
    world.variables["zone"] = "us-central1-z"
    ran = world.terraform.run(
        "apply", "-auto-approve", "-no-color", *(f"-var={k}={v}" for k, v in world.variables.items())
    )
    assert ran.code == 1 and "Error creating Vm: googleapi: Error 4" in " ".join(ran.err.split())


def test_a_provider_block_may_name_the_endpoints(terraform: Run, simulator: dict[str, str], tmp_path: Path) -> None:
    env = simulator_env(simulator)
    storage = Cloud(env["GOOGLE_STORAGE_CUSTOM_ENDPOINT"], "any")
    (tmp_path / "main.tf").write_text(
        HEAD
        + f"""
        provider "google" {{
          project                 = "{env["GOOGLE_PROJECT"]}"
          storage_custom_endpoint = "{env["GOOGLE_STORAGE_CUSTOM_ENDPOINT"]}"
        }}
        resource "google_storage_bucket" "this" {{
          name     = "named-by-the-block"
          location = "US"
        }}
        """
    )
    here = terraform(tmp_path).init()
    here.apply()
    assert storage.find("b/named-by-the-block") is not None
    assert here.changes() == {}
    here.destroy()
    assert storage.find("b/named-by-the-block") is None
