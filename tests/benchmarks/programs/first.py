"""One call, to its end: everything that only the first one on a machine does is done then."""

from __future__ import annotations

import json

import launcher


@launcher.run
def nothing() -> None:
    return None


if __name__ == "__main__":
    print(json.dumps(nothing()))
