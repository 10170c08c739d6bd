"""`python -m launcher.sim start|serve|stop|status|env|inject`: the simulator without the rest of the library."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.sim import control, tpu_phases
from launcher.sim.folder import default_folder

_STOPPED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except control.SimulatorError as error:
        print(f"launcher sim: {error}", file=sys.stderr)
        return 1
    return code


def _start(options: argparse.Namespace) -> int:
    started = control.start(
        options.dir, port=options.port, delays_s=dict(options.delay), idle_exit_s=options.idle_exit_s
    )
    running = started.status
    already = "already " if started.was_running else ""
    print(f"simulator {already}serving at {running['tpu']} (pid {running['pid']}), state in {running['state_dir']}")
    if not running["peers_checked"]:
        print("warning: on this system other users of the machine could reach it", file=sys.stderr)
    return 0


def _serve(options: argparse.Namespace) -> int:
    from launcher.sim.server import Options, serve

    return serve(
        Options(
            folder=options.dir or default_folder(),
            port=options.port,
            delays_s=dict(options.delay),
            idle_exit_s=options.idle_exit_s,
            kept=options.kept,
        )
    )


def _stop(options: argparse.Namespace) -> int:
    print("simulator stopped" if control.stop(options.dir) else "no simulator is running")
    return 0


def _status(options: argparse.Namespace) -> int:
    found = control.status(options.dir)
    if options.json:
        print(json.dumps(found, indent=2))
    elif found is None:
        print("no simulator is running")
    else:
        print(f"simulator serving at {found['tpu']} (pid {found['pid']}), state in {found['state_dir']}")
        for worker in found["workers"]:
            print(f"{worker['node']} worker {worker['worker']}: {worker['host']} port {worker['port']}")
    return _STOPPED if found is None else 0


def _env(options: argparse.Namespace) -> int:
    for name, value in control.env(options.dir, terraform=options.terraform).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _inject(options: argparse.Namespace) -> int:
    answer = control.inject(options.name, node=options.node, zone=options.zone, count=options.count, folder=options.dir)
    print("\n".join(answer.get("nodes", [f"{answer['name']} armed for the next {answer.get('armed')}"])))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m launcher.sim", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", type=Path, help="state folder (default: $LAUNCHER_SIM_DIR)")
    serving = argparse.ArgumentParser(add_help=False)
    serving.add_argument("--port", type=int, default=0, help="of 127.0.0.1; 0 (default) takes a free one")
    serving.add_argument(
        "--delay", type=_delay, action="append", default=[], metavar="PHASE=S", help="how long a phase lasts"
    )
    serving.add_argument("--idle-exit-s", type=float, help="end when empty and unused for so long")

    start = commands.add_parser("start", parents=[common, serving], help="serve in the background")
    start.set_defaults(run=_start)
    serve = commands.add_parser("serve", parents=[common, serving], help="serve in the foreground")
    serve.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    serve.set_defaults(run=_serve)
    stop = commands.add_parser("stop", parents=[common], help="end it and all its workers")
    stop.set_defaults(run=_stop)
    status = commands.add_parser("status", parents=[common], help="where it serves; exit code 1 when stopped")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=_status)
    env = commands.add_parser("env", parents=[common], help="exports that point other clients at it")
    env.add_argument("--terraform", action="store_true", help="also for the Terraform provider")
    env.set_defaults(run=_env)
    inject = commands.add_parser("inject", parents=[common], help="let something go wrong")
    inject.add_argument("name")
    inject.add_argument("--node")
    inject.add_argument("--zone")
    inject.add_argument("--count", type=int, default=1)
    inject.set_defaults(run=_inject)
    return parser


def _delay(text: str) -> tuple[str, float]:
    phase, _, seconds = text.partition("=")
    try:
        tpu_phases.check({phase: float(seconds)})
        return phase, float(seconds)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not PHASE=SECONDS: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
