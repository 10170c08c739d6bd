"""Reads terraform/ as text: what the tables of the READMEs say and the lint checks."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
from hcl2 import SerializationOptions

ROOT = Path(__file__).parents[2] / "terraform"
PLAIN = SerializationOptions(preserve_heredocs=False, with_comments=False)

# The parser's own notation: quotes stay inside strings, an expression is "${…}".
Body = dict[str, Any]


def folders() -> list[Path]:
    """The root module, every module, every example."""
    return [ROOT, *sorted(ROOT.glob("modules/*/")), *sorted(ROOT.glob("examples/*/"))]


@functools.cache
def parse(file: Path) -> Body:
    with file.open(encoding="utf-8") as opened:
        return hcl2.load(opened, serialization_options=PLAIN)


def string(value: Any) -> str:
    """A string without its quotes; an expression as it stands."""
    text = str(value)
    if text.startswith('"') and text.endswith('"'):
        return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), text[1:-1])
    return text[2:-1] if text.startswith("${") and text.endswith("}") else text


def source(value: Any) -> str:
    """A value as it would be written in HCL."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{string(name)} = {source(each)}" for name, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(source, value))}]"
    text = str(value)
    return text[2:-1] if text.startswith("${") and text.endswith("}") else text


def blocks(folder: Path, kind: str) -> Iterator[tuple[list[str], Body]]:
    """The labels and the body of every block of one kind directly in `folder`."""
    depth = {"resource": 2, "data": 2, "variable": 1, "output": 1, "provider": 1, "module": 1, "check": 1}.get(kind, 0)
    for file in sorted(folder.glob("*.tf")):
        for found in parse(file).get(kind, []):
            yield from _labelled(found, depth)


def _labelled(found: Body, depth: int) -> Iterator[tuple[list[str], Body]]:
    if depth == 0:
        yield [], found
        return
    for label, inner in found.items():
        for labels, body in _labelled(inner, depth - 1):
            yield [string(label), *labels], body


def nested(body: Any, kind: str) -> Iterator[Body]:
    """Every block of one kind at any depth below `body`."""
    if isinstance(body, dict):
        for name, value in body.items():
            if name == kind and isinstance(value, list):
                yield from (each for each in value if isinstance(each, dict))
            yield from nested(value, kind)
    elif isinstance(body, list):
        for value in body:
            yield from nested(value, kind)


# --- types --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Field:
    path: str  # "tpu_pools.*.zones"
    type: str
    default: str | None  # None: required


def fields(path: str, type_: str) -> Iterator[Field]:
    """The fields of an object type, or of a map or list of objects, at every depth."""
    while match := re.fullmatch(r"(map|list|set)\((.*)\)", type_, re.DOTALL):
        path, type_ = f"{path}.*" if match[1] == "map" else f"{path}[*]", match[2]
    match = re.fullmatch(r"object\(\{(.*)\}\)", type_, re.DOTALL)
    for entry in _split(match[1]) if match else []:
        name, _, inner = (part.strip() for part in entry.partition("="))
        default = None
        if optional := re.fullmatch(r"optional\((.*)\)", inner, re.DOTALL):
            inner, default = [*_split(optional[1]), "null"][:2]
        yield Field(f"{path}.{name}", inner, default)
        yield from fields(f"{path}.{name}", inner)


def short(type_: str) -> str:
    """A type without the fields of its objects: they have rows of their own."""
    found = re.sub(r"object\(\{.*\}\)", "object", type_, flags=re.DOTALL)
    return found if found.count("(") == found.count(")") else type_


def _split(text: str) -> list[str]:
    """At the commas that are in no bracket and no string."""
    parts, depth, quoted = [""], 0, False
    for at, char in enumerate(text):
        quoted ^= char == '"' and text[at - 1] != "\\"
        if not quoted:
            depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


# --- variables, outputs, grants -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Variable:
    name: str
    type: str
    default: str | None
    description: str
    nullable: bool
    validations: tuple[str, ...]  # their messages

    def fields(self) -> list[Field]:
        return list(fields(self.name, self.type))

    def about(self) -> str:
        """The description without its list of fields."""
        lines = self.description.splitlines()
        first = next((at for at, line in enumerate(lines) if _ITEM.match(line)), len(lines))
        return re.sub(r":$", ".", " ".join(line.strip() for line in lines[:first]).strip())

    def items(self) -> dict[str, str]:
        """What the description's list says of each field: `- zones: in this order.`"""
        found: dict[str, str] = {}
        names, text = list[str](), ""
        for line in self.description.splitlines():
            if match := _ITEM.match(line):
                names, text = match[1].split(", "), match[2]
            elif found:
                text += f" {line.strip()}"
            else:
                continue
            found |= dict.fromkeys(names, text.strip())
        return found


_ITEM = re.compile(r"\s*[-*] ([a-z0-9_.*]+(?:, [a-z0-9_.*]+)*): *(.*)")


def variables(folder: Path) -> list[Variable]:
    return [
        Variable(
            name=labels[0],
            type=string(body.get("type", "")),
            default=source(body["default"]) if "default" in body else None,
            description=string(body.get("description", "")),
            nullable=body.get("nullable", True),
            validations=tuple(string(each["error_message"]) for each in body.get("validation", [])),
        )
        for labels, body in blocks(folder, "variable")
    ]


def outputs(folder: Path) -> list[tuple[str, str]]:
    """Name and description."""
    return [(labels[0], string(body.get("description", ""))) for labels, body in blocks(folder, "output")]


@dataclasses.dataclass(frozen=True)
class Grant:
    folder: Path
    type: str  # google_storage_bucket_iam_member
    name: str
    body: Body
    why: str  # "": the comment is missing


def grants(folder: Path) -> list[Grant]:
    reasons: dict[tuple[str, str], str] = {}
    for file in folder.glob("*.tf"):
        reasons |= _reasons(file.read_text(encoding="utf-8"))
    return [
        Grant(folder, labels[0], labels[1], body, reasons.get((labels[0], labels[1]), ""))
        for labels, body in blocks(folder, "resource")
        if labels[0].endswith("_iam_member")
    ]


def _reasons(text: str) -> dict[tuple[str, str], str]:
    """The `# why: ` comment right above each resource; it may go on over further comment lines."""
    found = re.finditer(r"((?:^#.*\n)+)resource \"(\w+)\" \"(\w+)\"", text, re.MULTILINE)
    return {
        (match[2], match[3]): " ".join(match[1].partition("# why: ")[2].replace("\n#", " ").split()) for match in found
    }
