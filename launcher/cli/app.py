"""The root of all commands, and the one place where an exception becomes a message and an exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import click

import launcher
from launcher.cli import accelerators, costs, doctor, files, init, jobs, nodes, profile, reap, sim
from launcher.cli.output import Group, notice
from launcher.errors import ConfigError, LauncherError, RemoteTraceback
from launcher.records.leases import LeaseRefused
from launcher.terminal import clean


# No module of a command imports what is slow (a cloud, rich, cloudpickle) before the command runs.
@click.group(
    cls=Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(launcher.__version__, message="launcher %(version)s")
def root() -> None:
    """Run any Python function on a Cloud TPU.

    Jobs start from Python (@launcher.run); these commands look after them. Every command has --json.
    """


for _command in (
    accelerators.accelerators,
    doctor.doctor,
    files.files,
    init.init,
    nodes.nodes,
    profile.profile,
    reap.reap,
    reap.unfreeze,
    sim.sim,
    *costs.COMMANDS,
    *jobs.COMMANDS,
):
    root.add_command(_command)


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
        said = exc.format_message()
        notice(f"error: {said}{'' if said.endswith(('.', '?')) else '.'} See: {where} --help")
        return exc.exit_code
    except Exception as exc:  # the one place for errors that are meant for people; bugs are raised on
        problems = _problems(exc)
        if problems is None:
            raise
        remote = (exc.__cause__ or exc).__cause__ if isinstance(exc, jobs.JobFailed) else exc.__cause__
        if isinstance(remote, RemoteTraceback) and remote.text:
            sys.stderr.write(f"{clean(remote.text.rstrip())}\n")
        for problem in problems:
            notice(f"error: {problem}")
        return 1
    return code if isinstance(code, int) else 0


def _problems(exc: Exception) -> Sequence[str] | None:
    """What to tell of an exception, one line each; None for a bug, whose traceback is the message."""
    if isinstance(exc, ConfigError):
        return exc.problems
    if isinstance(exc, click.ClickException):
        return [exc.format_message()]
    if isinstance(exc, OSError) and exc.filename and exc.strerror:
        return [f"{exc.filename}: {exc.strerror}"]
    from launcher.sim.control import SimulatorError

    ours = isinstance(exc, (LauncherError, LeaseRefused, OSError, SimulatorError, jobs.JobFailed))
    return [str(exc)] if ours else None
