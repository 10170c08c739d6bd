"""Writes the generated tables of terraform/**/README.md: `python -m tests.terraform.tables --write`, or `make docs`.

Without --write: names the READMEs whose tables are not what the code says, and exits 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.terraform import hcl

Row = tuple[str, ...]


def table(header: Row, rows: Iterable[Row]) -> list[str]:
    body = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header), *body, ""] if body else []


def code(text: str) -> str:
    return f"`{text}`"


def variable_rows(variables: list[hcl.Variable]) -> Iterator[Row]:
    """A row for each variable and, where the description lists fields, for each of those."""
    for variable in variables:
        said = variable.items()
        fields = [hcl.Field(variable.name, variable.type, variable.default), *variable.fields()]
        listed = {field.path for field in fields if any(name in said for name in field_names(field.path))}
        for field in fields:
            if field.path == variable.name or field.path in listed:
                inside = any(path != field.path and path.startswith(field.path) for path in listed)
                type_ = hcl.short(field.type) if inside else field.type
                text = next((said[name] for name in field_names(field.path) if name in said), "")
                text = variable.about() if field.path == variable.name else text
                yield code(field.path), code(type_), _default(field.default), text


def field_names(path: str) -> list[str]:
    """What a description may call a field: `node_pools.*.zone` from outside, `zone` from inside."""
    parts = path.replace("[*]", ".*").split(".")
    return [".".join(parts[at:]) for at in range(1, len(parts))]


def _default(default: str | None) -> str:
    return "required" if default is None else code(default)


def module_tables(folder: Path) -> str:
    variables = table(("variable", "type", "default", "meaning"), variable_rows(hcl.variables(folder)))
    outputs = table(("output", "meaning"), [(code(name), about) for name, about in hcl.outputs(folder)])
    return "\n".join([*variables, *outputs])


# --- roles --------------------------------------------------------------------------------------------------


def roles_table() -> str:
    """Every grant of every module, and what the custom roles may do."""
    found = [grant for folder in hcl.folders() for grant in hcl.grants(folder)]
    rows = sorted(
        (who(grant), role(grant), f"{on(grant)}{condition(grant)}", grant.why, code(grant.folder.name))
        for grant in found
        if "examples" not in grant.folder.parts
    )
    return "\n".join([*table(("who", "role", "on", "why", "module"), rows), *custom_roles()])


def custom_roles() -> list[str]:
    rows = [
        (code(labels[1]), hcl.string(body["description"]), permissions(hcl.source(body["permissions"])))
        for folder in hcl.folders()
        for labels, body in hcl.blocks(folder, "resource")
        if labels[0] == "google_project_iam_custom_role"
    ]
    return table(("custom role", "what for", "permissions"), rows)


def permissions(written: str) -> str:
    """Of a list, or of concat([…], var.extra ? […] : []): the latter with the variable that adds them."""
    always, *optional = re.split(r"var\.(?=\w+ \?)", written)
    parts = [", ".join(code(each) for each in re.findall(r'"([\w.]+)"', always))]
    for part in optional:
        added = ", ".join(code(each) for each in re.findall(r'"([\w.]+)"', part))
        parts.append(f"with {code(part.split()[0])} {added}")
    return "; ".join(parts)


def role(grant: hcl.Grant) -> str:
    text = hcl.string(grant.body["role"])
    custom = re.search(r"google_project_iam_custom_role\.(\w+)", text)
    return f"custom role {code(custom[1])}" if custom else code(text)


ON = {
    "google_artifact_registry_repository_iam_member": ("repository", "repository"),
    "google_cloud_run_v2_service_iam_member": ("the service of the function", ""),
    "google_project_iam_member": ("the project", ""),
    "google_pubsub_topic_iam_member": ("topic", "topic"),
    "google_secret_manager_secret_iam_member": ("the secret", ""),
    "google_service_account_iam_member": ("the account of", "service_account_id"),
    "google_storage_bucket_iam_member": ("bucket", "bucket"),
}


def on(grant: hcl.Grant) -> str:
    kind, attribute = ON[grant.type]
    if kind == "the account of":
        return f"{kind} {', '.join(principals(grant.folder, hcl.string(grant.body[attribute])))}"
    if not attribute:
        return kind
    named = re.search(r"google_\w+\.(\w+)", hcl.string(grant.body[attribute]))
    return f"{kind} {code(named[1]) if named else code(hcl.string(grant.body[attribute]))}"


def condition(grant: hcl.Grant) -> str:
    return "".join(f": {hcl.string(each['description'])}" for each in hcl.nested(grant.body, "condition"))


# Every account and variable that a member can come from.
WHO = {
    "budget_guard": "the budget guard",
    "build": "the builder of the functions",
    "gke_nodes": "the cluster's nodes",
    "idle_shutdown": "the idle-shutdown",
    "launcher_users": "`launcher_users`",
    "operators": "`operators`",
    "push": "Pub/Sub's caller",
    "queued_hosts": "hosts of queued `tpu_vms`",
    "scheduler": "Cloud Scheduler's caller",
    "teams": "members of `teams`",
    "worker": "workers",
    "workers": "workers",
}


def who(grant: hcl.Grant) -> str:
    member = hcl.string(grant.body["member"])
    if not re.search(r"\b(var|local|module|google_\w+)\.", member):  # each.value, each.value.member
        member = hcl.source(grant.body["for_each"])
    found = principals(grant.folder, member)
    if not found:
        raise ValueError(f"{grant.folder.name}: {grant.type}.{grant.name}: nobody in WHO is a member by `{member}`")
    return ", ".join(found)


def principals(folder: Path, written: str) -> list[str]:
    """Whom an expression of a module names, followed through its locals and what the root module gives it."""
    found: list[str] = []
    written = re.sub(r"length\([^()]*\)", "", written)  # asks whether somebody is there, names nobody
    for kind, first, second in re.findall(r"\b(var|local|module|google_service_account)\.(\w+)(?:\.(\w+))?", written):
        given = arguments_of(folder).get(first) if kind == "var" and folder != hcl.ROOT else None
        if kind == "local":
            found += principals(folder, local(folder, first)) or [WHO[first]]
        elif kind == "module" or (kind == "var" and second in WHO):  # module.identity.push, var.accounts.push
            found += [WHO[second]] if second in WHO else []
        elif given is not None:
            found += principals(hcl.ROOT, given)
        elif first in WHO:
            found.append(WHO[first])
    return list(dict.fromkeys(found))


def local(folder: Path, name: str) -> str:
    return next(hcl.source(body[name]) for _, body in hcl.blocks(folder, "locals") if name in body)


def arguments_of(module: Path) -> dict[str, str]:
    """What the root module gives a module of its."""
    for _, body in hcl.blocks(hcl.ROOT, "module"):
        if hcl.string(body["source"]).endswith(f"/{module.name}"):
            return {name: hcl.source(value) for name, value in body.items()}
    return {}


# --- READMEs ------------------------------------------------------------------------------------------------


def with_generated(readme: Path) -> str:
    """The README's text with its generated parts as they must be."""
    text = _put(readme.read_text(encoding="utf-8"), "tables", module_tables(readme.parent))
    return _put(text, "roles", roles_table()) if "<!-- roles:begin -->" in text else text


def _put(text: str, name: str, inner: str) -> str:
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        return text
    return f"{before}{begin}{inner}{end}{after}"


def readmes() -> list[Path]:
    return [folder / "README.md" for folder in hcl.folders()]


def main(arguments: list[str]) -> int:
    stale = []
    for readme in readmes():
        wanted = with_generated(readme)
        if wanted != readme.read_text(encoding="utf-8"):
            stale.append(readme)
            if arguments == ["--write"]:
                readme.write_text(wanted, encoding="utf-8")
    for readme in stale:
        print(f"{readme.relative_to(hcl.ROOT.parent)}: {'written' if arguments else 'its tables are old: make docs'}")
    return 1 if stale and not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
