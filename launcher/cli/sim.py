"""`launcher sim`: the simulator as a process of its own."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from launcher.cli.output import Group, json_option, notice, print_json, print_table

if TYPE_CHECKING:
    from launcher.sim.control import Status


class _Delay(click.ParamType[tuple[str, float]]):
    name = "PHASE=S"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        from launcher.sim import tpu_phases

        phase, _, seconds = value.partition("=")
        try:
            delay = phase, float(seconds)
            tpu_phases.check(dict([delay]))
        except ValueError as exc:
            self.fail(f"{value!r} is not PHASE=SECONDS: {exc}.", param, ctx)
        return delay


@click.group(cls=Group, no_args_is_help=True)
def sim() -> None:
    """Run a simulator of Cloud TPU on this machine.

    It serves the Cloud TPU API, Cloud Storage and SSH workers, on loopback and to this user only. Jobs use it with
    LAUNCHER_PROFILE=simulator. LAUNCHER_SIM_DIR chooses which: every folder can have one.
    """


@sim.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of 127.0.0.1; 0 (default) takes a free one.")
@click.option("--idle-exit-s", type=click.FloatRange(0, min_open=True), help="End when empty and unused for so long.")
@click.option("--delay", "delays", type=_Delay(), multiple=True, help="How long a phase of a node lasts.")
@json_option
def start(port: int, idle_exit_s: float | None, delays: tuple[tuple[str, float], ...], as_json: bool) -> None:
    """Start one; return when it serves."""
    from launcher.sim import control
    from launcher.simulator_process import check_installed

    check_installed()
    started = control.start(port=port, delays_s=dict(delays), idle_exit_s=idle_exit_s)
    if not started.status.get("peers_checked", True):
        notice("on this system other users of the machine could reach the simulator")
    if as_json:
        print_json(started.status)
        return
    already = "already " if started.was_running else ""
    print(f"simulator {already}serving at {started.status['tpu']}, state in {started.status['state_dir']}")


@sim.command()
@json_option
def stop(as_json: bool) -> None:
    """End it and every process of its workers."""
    from launcher.sim import control

    stopped = control.stop()
    if as_json:
        print_json({"stopped": stopped})
    else:
        print("simulator stopped" if stopped else "no simulator is running")


@sim.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show where it serves; exit 1 when stopped."""
    from launcher.sim import control

    found = control.status()
    if as_json:
        print_json(found)
    elif found is None:
        print("no simulator is running")
    else:
        _print_status(found)
    if found is None:
        ctx.exit(1)


def _print_status(found: Status) -> None:
    print(f"simulator serving at {found['tpu']} (pid {found['pid']}), state in {found['state_dir']}")
    for fault in found.get("faults", ()):
        print(f"armed: {fault['name']}, {fault['count']} more")
    workers = found["workers"]
    if workers:
        rows = [[w["node"].rpartition("/")[2], str(w["worker"]), w["host"], str(w["port"])] for w in workers]
        print_table(["node", "worker", "host", "port"], rows, right=["worker", "port"])


@sim.command()
@click.option("--terraform", is_flag=True, help="Also for the Terraform Google provider.")
@json_option
def env(terraform: bool, as_json: bool) -> None:
    """Print exports for other clients.

    eval "$(launcher sim env)" points gcloud and Google's libraries at it.
    """
    from launcher.sim import control

    variables = control.env(terraform=terraform)
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


@sim.command()
@click.argument("name")
@click.option("--node", metavar="N", help="Only this node.")
@click.option("--zone", metavar="Z", help="Only in this zone.")
@click.option("--count", type=click.IntRange(1), default=1, help="How many times (default 1).")
@json_option
def inject(name: str, node: str | None, zone: str | None, count: int, as_json: bool) -> None:
    """Let something go wrong.

    NAME: preemption, dropped-connection and changed-host-key strike READY nodes at once; stockout and gcs-503 the
    next request for a node or to the bucket.
    """
    from launcher.sim import control

    answer = control.inject(name, node=node, zone=zone, count=count)
    if as_json:
        print_json(answer)
    elif "nodes" in answer:
        print("\n".join(f"{name}: {struck}" for struck in answer["nodes"]))
    else:
        armed = answer["armed"]
        print(f"{name}: strikes the next {'request' if armed == 1 else f'{armed} requests'}")
