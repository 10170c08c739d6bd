"""`launcher sim`: the simulator as a process of its own."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.output import Duration, Group, json_option, notice, print_json, print_table

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
    if "time" in found:
        print(_time_line(found))
    for fault in found.get("faults", ()):
        print(_fault_line(fault))
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


def _time_line(found: dict[str, Any]) -> str:
    moment, ahead = found["time"].partition(".")[0], timedelta(seconds=round(found["ahead_s"]))
    return f"simulated time: {moment}Z, {ahead} ahead of this machine's"


def _fault_line(fault: dict[str, Any]) -> str:
    """`armed: stockout, 2 more`, `standing: forbidden in us-east5-a`."""
    where = "".join(f" {word} {fault[key]}" for key, word in (("node", "of"), ("zone", "in")) if fault[key])
    value = fault["value"]
    shown = f" {value:g}" if isinstance(value, float) else f" {value}" if value else ""
    count = fault["count"]
    return f"{'standing' if count is None else 'armed'}: {fault['name']}{shown}{where}" + (
        "" if count is None else f", {count} more"
    )


@sim.command()
@click.argument("name")
@click.option("--node", metavar="N", help="Only this node.")
@click.option("--zone", metavar="Z", help="Only in this zone.")
@click.option("--count", type=click.IntRange(1), default=1, help="How many times (default 1).")
@click.option("--value", metavar="V", help="What the fault needs: see below.")
@click.option("--off", is_flag=True, help="Take it back: what still waits, or stands.")
@json_option
def inject(
    name: str, node: str | None, zone: str | None, count: int, value: str | None, off: bool, as_json: bool
) -> None:
    """Let something go wrong.

    \b
    At once, to nodes that are READY:
      preemption, dropped-connection, changed-host-key
      suspended         a queued resource that is ACTIVE or waits (else the next)
    At the next request for a node, or to the bucket:
      stockout, gcs-503
      quota             --value create (refused, default) or failed (accepted first)
      slow-operation    --value S: takes S seconds (default 600)
      lost-answer       takes effect unheard; --value tpu or storage
    From now on, until --off:
      forbidden, zone-down      --zone Z: 403 or 503 for every TPU call there
      page-size                 --value N: at most N in a page of a list
      clock-skew                --value S: workers' clocks are S seconds ahead
      missing-permission        --value tpu.nodes.create
      disabled-api              --value tpu.googleapis.com
    """
    from launcher.sim import control

    answer = control.inject(name, node=node, zone=zone, count=count, value=value, off=off)
    if as_json:
        print_json(answer)
    elif "nodes" in answer:
        print("\n".join(f"{name}: {struck}" for struck in answer["nodes"]))
    elif "cleared" in answer:
        print(f"{name}: taken back")
    elif "standing" in answer:
        print(f"{name}: from now on, until: launcher sim inject {name} --off")
    else:
        armed = answer["armed"]
        print(f"{name}: strikes the next {'request' if armed == 1 else f'{armed} requests'}")


@sim.command()
@click.argument("time", metavar="TIME", type=Duration())
@json_option
def advance(time: float, as_json: bool) -> None:
    """Move its time on by TIME (45s, 30m, 1h30m).

    Delays, queues, tokens, leases and the clocks of its workers follow. Whoever would have woken meanwhile does, in
    order; jobs themselves run at their own pace.
    """
    from launcher.sim import control

    answer = control.advance(time)
    if as_json:
        print_json(answer)
    else:
        print(_time_line(answer))
