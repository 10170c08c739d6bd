"""`launcher files`: what a call from here would send, and why the rest is left out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli.output import human_bytes, json_option, notice, print_json, print_table

if TYPE_CHECKING:
    from launcher.shipping import Listing


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@json_option
def files(path: Path | None, as_json: bool) -> None:
    """Show what a call from here would send.

    PATH is a script or folder; default: the current folder. Files are chosen as for a call, nothing is sent.
    """
    from launcher.shipping import describe

    listing = describe(path)
    for line in listing.notices:
        notice(line)
    if as_json:
        print_json(_document(listing))
    elif listing.root is None:
        print("nothing to send")
    else:
        _print(listing)


def _print(listing: Listing) -> None:
    rows = [
        [
            human_bytes(each.size) if each.kind == "file" else each.kind,
            f"{each.path} -> {each.target}" if each.target else each.path,
        ]
        for each in listing.entries
    ]
    print_table(["size", "sent"], rows, right=["size"], plain=True)
    if listing.left_out:
        print()
        print_table(["why", "left out"], [[each.why, each.path] for each in listing.left_out], plain=True)
    count = len(listing.files)
    print(f"\n{count} file{'' if count == 1 else 's'}, {human_bytes(listing.total_bytes)} from {listing.root}")


def _document(listing: Listing) -> dict[str, object]:
    keys = ("path", "kind", "size", "executable", "target")
    return {
        "root": None if listing.root is None else str(listing.root),
        "files": len(listing.files),
        "total_bytes": listing.total_bytes,
        "entries": [{key: getattr(each, key) for key in keys} for each in listing.entries],
        "left_out": [{"path": each.path, "why": each.why} for each in listing.left_out],
        "notices": list(listing.notices),
    }
