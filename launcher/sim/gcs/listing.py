"""One page of a listing: prefix, delimiter, offsets and page tokens."""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.sim.gcs.errors import invalid

MAX_RESULTS = 1000


@dataclass(frozen=True)
class ListQuery:
    """What to list. `start` is inclusive, `end` exclusive; `limit` counts names and prefixes together.

    `glob`: only names and prefixes that match.
    """

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str | None = None
    page_token: str | None = None
    limit: int = MAX_RESULTS
    include_trailing_delimiter: bool = False
    glob: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Page:
    """Names and common prefixes, each in UTF-8 order, and the token of the next page if there is one."""

    names: list[str]
    prefixes: list[str]
    next_token: str | None


def list_page(names: Sequence[str], query: ListQuery) -> Page:
    """The page of `names` (sorted) that the query asks for. Raises GcsError 400 for a foreign page token."""
    last, last_is_prefix = _decode_token(query.page_token)
    page = Page([], [], None)
    # Python orders str by code point, which is UTF-8's byte order too.
    for name in names[bisect_left(names, max(query.prefix, query.start, last)) :]:
        if not name.startswith(query.prefix) or (query.end is not None and name >= query.end):
            break
        if query.page_token is not None and (name == last or (last_is_prefix and name.startswith(last))):
            continue
        common = _common_prefix(name, query)
        if query.glob is not None and not query.glob.fullmatch(name if common is None else common):
            continue
        if common is not None and page.prefixes and page.prefixes[-1] == common:
            if query.include_trailing_delimiter and name == common:
                page.names.append(name)
            continue
        if len(page.names) + len(page.prefixes) >= query.limit:
            return Page(page.names, page.prefixes, _encode_token(last, last_is_prefix))
        if common is None or (query.include_trailing_delimiter and name == common):
            page.names.append(name)
        if common is not None:
            page.prefixes.append(common)
        last, last_is_prefix = (name, False) if common is None else (common, True)
    return page


def _common_prefix(name: str, query: ListQuery) -> str | None:
    if not query.delimiter:
        return None
    at = name.find(query.delimiter, len(query.prefix))
    return None if at < 0 else name[: at + len(query.delimiter)]


def _encode_token(last: str, is_prefix: bool) -> str:
    return base64.urlsafe_b64encode((("P" if is_prefix else "N") + last).encode()).decode()


def _decode_token(token: str | None) -> tuple[str, bool]:
    if not token:
        return "", False
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        text = ""
    if text[:1] not in ("P", "N"):
        raise invalid(f"Invalid page token: {token}", parameter="pageToken")
    return text[1:], text[0] == "P"
