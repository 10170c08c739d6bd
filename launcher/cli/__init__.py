"""The `launcher` command: a thin shell over the library."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (default: this process's); returns its exit code."""
    try:
        from launcher.cli.app import run

        return run(arguments)
    except KeyboardInterrupt:  # while modules load
        return 130
