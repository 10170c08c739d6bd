"""What Google's provider adds to a plan by code: defaults of the provider block, labels, the content of objects."""

from __future__ import annotations

from pathlib import Path

from tests.terraform.standin.digests import md5_of
from tests.terraform.standin.settings import ATTRIBUTION, Settings
from tests.terraform.standin.values import UNKNOWN, Object, is_unknown

_CHANGE_WITH_CONTENT = ("crc32c", "generation", "md5hash", "md5hexhash", "media_link")


def completed(type_name: str, planned: Object, prior: Object | None, settings: Settings) -> Object:
    """`planned` with what the provider knows already."""
    out = dict(planned)
    known = {
        "project": settings.project,
        "region": settings.region,
        "zone": settings.zone,
        "deletion_policy": settings.deletion_policy,
    }
    for name, value in known.items():
        if out.get(name) is UNKNOWN and value is not None:
            out[name] = value
    if "effective_labels" in out:
        out |= _labels(out, prior, settings)
    if "effective_annotations" in out:
        out["effective_annotations"] = UNKNOWN if is_unknown(out["annotations"]) else out["annotations"] or {}
    if type_name == "google_storage_bucket" and isinstance(out["location"], str):
        out["location"] = out["location"].upper()
    if type_name == "google_storage_bucket_object" and prior is not None:
        out |= _content(out, prior, settings)
    return out


def _labels(out: Object, prior: Object | None, settings: Settings) -> Object:
    """terraform_labels: what the configuration says; effective_labels: that, and what others have set."""
    own = out["resource_labels"] if "resource_labels" in out else out["labels"]
    if is_unknown(own):
        return {"terraform_labels": UNKNOWN, "effective_labels": UNKNOWN}
    before: Object = (prior or {}).get("effective_labels") or {}
    attributed = settings.attribution if prior is None else before.keys() >= ATTRIBUTION.keys()
    said = {**settings.labels, **(ATTRIBUTION if attributed else {}), **(own or {})}
    ours: Object = (prior or {}).get("terraform_labels") or {}
    others = {name: value for name, value in before.items() if name not in ours}
    return {"terraform_labels": said, "effective_labels": {**others, **said}}


def _content(out: Object, prior: Object, settings: Settings) -> Object:
    """An object whose content is another than the bucket has is uploaded again."""
    digest = local_md5(out, settings.cwd)
    if digest is not None and digest == prior["detect_md5hash"]:
        return {"detect_md5hash": digest}
    return dict.fromkeys(_CHANGE_WITH_CONTENT, UNKNOWN)


def local_md5(planned: Object, cwd: Path) -> str | None:
    """None where it is not known yet."""
    data = local_content(planned, cwd)
    return None if data is None else md5_of(data)


def local_content(planned: Object, cwd: Path) -> bytes | None:
    if isinstance(planned["source"], str):
        path = cwd / planned["source"]
        return path.read_bytes() if path.is_file() else None
    if planned["source"] is UNKNOWN or planned["content"] is UNKNOWN:
        return None
    return str(planned["content"] or "").encode()
