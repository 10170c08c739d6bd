"""The root of all commands, and the one place where an exception becomes a message and an exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import click

import launcher
from launcher.cli.groups import LazyGroup

COMMANDS = {
    "accelerators": ("launcher.cli.accelerators:accelerators", "List what can be asked for: chips, hosts, list price."),
    "attach": ("launcher.cli.follow:attach", "Follow a job to its end."),
    "cancel": ("launcher.cli.jobs:cancel", "End a job for good and delete its node."),
    "files": ("launcher.cli.files:files", "Show what a call from here would send."),
    "jobs": ("launcher.cli.jobs:jobs", "List your newest jobs."),
    "logs": ("launcher.cli.follow:logs", "Print a job's log."),
    "nodes": ("launcher.cli.nodes:nodes", "List nodes, or delete one."),
    "profile": ("launcher.cli.profile:profile", "Choose and edit where jobs go."),
    "result": ("launcher.cli.result:result", "Wait for a job and print its value."),
    "sim": ("launcher.cli.sim:sim", "Run a simulator of Cloud TPU on this machine."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(launcher.__version__, message="launcher %(version)s")
def root() -> None:
    """Run any Python function on a Cloud TPU.

    Jobs start from Python (@launcher.run); these commands look after them. Every command has --json.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line; errors become lines on standard error. Returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of few characters is no reason to fail
    try:
        code = root.main(
            args=None if arguments is None else list(arguments), prog_name="launcher", standalone_mode=False
        )
    except click.Abort:
        return 130
    except click.exceptions.NoArgsIsHelpError as exc:
        sys.stderr.write(f"{exc.format_message()}\n")
        return exc.exit_code
    except click.UsageError as exc:
        where = exc.ctx.command_path if exc.ctx else "launcher"
        _say([f"{exc.format_message()} See: {where} --help"])
        return exc.exit_code
    except Exception as exc:  # the one place for errors that are meant for people; bugs are raised on
        from launcher.cli.failures import describe

        lines = describe(exc)
        if lines is None:
            raise
        if lines.context:
            sys.stderr.write(lines.context)
        _say(lines.errors)
        return 1
    return code if isinstance(code, int) else 0


def _say(errors: Sequence[str]) -> None:
    for error in errors:
        sys.stderr.write(f"launcher: error: {error}\n")
