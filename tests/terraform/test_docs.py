"""What holds for all of terraform/ as text: its style, its tables, and that every rule of its has a test."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.terraform import hcl, tables
from tests.terraform.standin.schema import load_schema

FOLDERS = hcl.folders()
ALL = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(hcl.ROOT.parent)))
CONSTRAINTS = {
    "archive": "~> 2.7",
    "google": ">= 7.33, < 9",
    "google-beta": ">= 7.33, < 9",
}


def is_example(folder: Path) -> bool:
    return folder.parent.name == "examples"


def test_every_folder_is_found() -> None:
    names = {str(folder.relative_to(hcl.ROOT)) for folder in FOLDERS}
    assert {".", "modules/services", "modules/gke", "examples/minimal", "examples/team"} <= names


@ALL
def test_readme_has_the_tables_that_the_code_makes(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "<!-- tables:begin -->\n" in text and "<!-- tables:end -->" in text
    assert text == tables.with_generated(folder / "README.md"), "stale: run `make docs`"


def test_the_roles_are_in_the_platforms_readme() -> None:
    assert "<!-- roles:begin -->\n" in (hcl.ROOT / "README.md").read_text(encoding="utf-8")


@ALL
def test_files_are_where_they_are_looked_for(folder: Path) -> None:
    wanted = ["README.md", "outputs.tf", "variables.tf", "versions.tf", "tests/plan.tftest.hcl"]
    if any(list(hcl.blocks(folder, kind)) for kind in ("resource", "module")):
        wanted.append("tests/apply.tftest.hcl")
    assert [name for name in wanted if not (folder / name).exists()] == []
    for kind in ("variable", "output"):
        inside = hcl.parse(folder / f"{kind}s.tf").get(kind, [])
        assert len(inside) == len(list(hcl.blocks(folder, kind))), f"a {kind} is outside {kind}s.tf"


@ALL
def test_variables_are_sorted_typed_and_described(folder: Path) -> None:
    variables = hcl.variables(folder)
    assert [each.name for each in variables] == sorted(each.name for each in variables)
    wrong = []
    for variable in variables:
        if variable.type in ("", "any"):
            wrong.append(f"{variable.name}: no type")
        if variable.nullable != (variable.default == "null"):
            wrong.append(f"{variable.name}: nullable = false unless its default is null")
        if not all(text.endswith(".") for text in [variable.about(), *variable.items().values()]):
            wrong.append(f"{variable.name}: a description is a sentence and ends with a period")
        wrong += [f"{variable.name}: {each}" for each in misnamed_fields(variable)]
    assert wrong == []


def misnamed_fields(variable: hcl.Variable) -> list[str]:
    """Where a description lists fields, it lists each of the object's and no other; it may go deeper."""
    said = variable.items()
    names = {field.path: tables.field_names(field.path) for field in variable.fields()}
    top = [path for path in names if len(tables.field_names(path)[0].replace("*.", "").split(".")) == 1]
    missing = [path for path in top if said and not said.keys() & set(names[path])]
    unknown = said.keys() - {name for each in names.values() for name in each}
    return [f"{name} is not described" for name in missing] + [f"there is no field {name}" for name in sorted(unknown)]


@ALL
def test_outputs_are_sorted_and_described(folder: Path) -> None:
    outputs = hcl.outputs(folder)
    assert [name for name, _ in outputs] == sorted(name for name, _ in outputs)
    assert [name for name, about in outputs if not about.endswith(".")] == []


@ALL
def test_providers_are_configured_by_examples_only(folder: Path) -> None:
    assert bool(list(hcl.blocks(folder, "provider"))) == is_example(folder)


@ALL
def test_versions_are_the_supported_ones_and_no_provider_is_required_in_vain(folder: Path) -> None:
    (settings,) = hcl.parse(folder / "versions.tf")["terraform"]
    assert hcl.string(settings["required_version"]) == ">= 1.9"
    (required,) = settings.get("required_providers", [{}])  # a module that only computes has none
    found = {name: each for name, each in required.items() if isinstance(each, dict)}
    assert {name: hcl.string(each["version"]) for name, each in found.items()} == {
        name: CONSTRAINTS[name] for name in found
    }
    assert all(hcl.string(each["source"]) == f"hashicorp/{name}" for name, each in found.items())
    if not is_example(folder):
        assert set(own_providers(folder)) <= set(found) <= set(used_providers(folder))


def own_providers(folder: Path) -> set[str]:
    used = set()
    for kind in ("resource", "data"):
        for labels, body in hcl.blocks(folder, kind):
            default = labels[0].partition("_")[0]
            if default != "terraform":  # terraform_data is built in
                used.add(hcl.string(body["provider"]) if "provider" in body else default)
    return used


def used_providers(folder: Path) -> set[str]:
    """Those of the folder's own resources and of the modules that it calls."""
    called = (folder / hcl.string(body["source"]) for _, body in hcl.blocks(folder, "module"))
    return own_providers(folder).union(*(used_providers(each.resolve()) for each in called))


@ALL
def test_every_grant_says_why(folder: Path) -> None:
    assert [f"{each.type}.{each.name}" for each in hcl.grants(folder) if not each.why.endswith(".")] == []


@ALL
def test_no_role_is_basic_or_an_administrators_and_no_grant_takes_others_away(folder: Path) -> None:
    resources = [labels[0] for labels, _ in hcl.blocks(folder, "resource")]
    assert [type_ for type_ in resources if re.search(r"_iam_(binding|policy|audit_config)$", type_)] == []
    roles = [hcl.string(each.body["role"]) for each in hcl.grants(folder)]
    assert [
        role for role in roles if re.search(r"roles/(owner|editor|viewer|browser)$|admin", role, re.IGNORECASE)
    ] == []


@ALL
def test_every_resource_that_lies_in_a_project_names_it(folder: Path) -> None:
    known = {**load_schema("google")["resource_schemas"], **load_schema("google-beta")["resource_schemas"]}
    wrong = [
        ".".join(labels)
        for labels, body in hcl.blocks(folder, "resource")
        if "project" in known.get(labels[0], {}).get("block", {}).get("attributes", {}) and "project" not in body
    ]
    assert wrong == []


@ALL
def test_nothing_runs_commands_or_waits(folder: Path) -> None:
    resources = list(hcl.blocks(folder, "resource"))
    assert [labels for labels, _ in resources if labels[0] in ("null_resource", "time_sleep")] == []
    assert [labels for labels, body in resources if "provisioner" in body] == []


def test_everything_waits_for_the_apis() -> None:
    """In a new project a resource that does not wait, such as a topic, is refused while its API is still off."""
    made = {labels[0]: hcl.source(body.get("depends_on", [])) for labels, body in hcl.blocks(hcl.ROOT, "module")}
    waiting = {name for name, after in made.items() if "module.services" in after or "module.idle_shutdown" in after}
    # The catalog makes nothing; all that the idle shutdown makes takes something from a module that waits.
    assert made.keys() - waiting == {"catalog", "services", "idle_shutdown"}


# --- rules --------------------------------------------------------------------------------------------------


def rules(folder: Path) -> list[tuple[str, str]]:
    """What expect_failures calls it, and the message, of every validation and precondition."""
    found = [(f"var.{each.name}", message) for each in hcl.variables(folder) for message in each.validations]
    for kind in ("resource", "data", "output"):
        for labels, body in hcl.blocks(folder, kind):
            address = ".".join(labels if kind == "resource" else [kind, *labels])
            for condition in ("precondition", "postcondition"):
                found += [(address, hcl.string(each["error_message"])) for each in hcl.nested(body, condition)]
    for labels, body in hcl.blocks(folder, "check"):
        found += [(f"check.{labels[0]}", hcl.string(each["error_message"])) for each in hcl.nested(body, "assert")]
    return found


@ALL
def test_every_rule_says_what_is_wrong_in_full_sentences(folder: Path) -> None:
    variables = [*hcl.variables(folder), *hcl.variables(hcl.ROOT)]  # a module may say it in its caller's words
    names = {each.name for each in variables}
    names |= {field.path.rpartition(".")[2] for each in variables for field in each.fields()}
    wrong = []
    for address, message in rules(folder):
        first = re.match(r"\w+", message)
        begins = message.startswith("${") or (first and (first[0][0].isupper() or first[0] in names))
        if not begins or not message.endswith((".", "}")):  # ${join(…)} of sentences
            wrong.append(f"{address}: {message}")
    assert wrong == []


@ALL
def test_every_rule_has_a_run_in_which_it_fails(folder: Path) -> None:
    written = "".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("tests/*.tftest.hcl")))
    expected = Counter(
        re.sub(r"\[.*$", "", each.strip())
        for failures in re.findall(r"expect_failures\s*=\s*\[([^\]]*(?:\[[^\]]*\][^\]]*)*)\]", written)
        for each in failures.split(",")
    )
    needed = Counter(address for address, _ in rules(folder))
    assert {
        address: f"{expected[address]} of {count}" for address, count in needed.items() if expected[address] < count
    } == {}
