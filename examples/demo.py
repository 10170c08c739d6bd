"""`make demo`: Gemma 3 fine-tuned through the decorator, on a simulator of Google's services on this machine.

Needs no cloud account. Starts a simulator of its own, runs the example as a user would, then again on the node that
stayed warm, lets the idle auto-shutdown take it, and removes everything it made, also after Ctrl-C.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "gemma_genz" / "finetune.py"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    build = ROOT / "build"  # beside the checkout's other files: on uv's file system packages are hard links
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=build))
    env = {
        **os.environ,
        "LAUNCHER_SIM_DIR": str(folder / "sim"),
        "LAUNCHER_CONFIG_DIR": str(folder / "config"),
        "LAUNCHER_CACHE_DIR": str(folder / "cache"),
        "LAUNCHER_PROFILE": "simulator",
    }
    try:
        say("Start a simulator of Cloud TPU, Cloud Storage and SSH workers")
        launcher(env, "sim", "start")
        say("Fine-tune Gemma 3 on 30 question/answer pairs: examples/gemma_genz/finetune.py")
        first = call(env, folder / "first.json", *sys.argv[1:])
        say("Call it again: the node is warm, the environment is built")
        second = call(env, folder / "second.json", *(sys.argv[1:] or ["--epochs", "5"]), quiet=True)
        compare(first, second)
        say("Nobody calls any more: a quarter of an hour later the idle auto-shutdown takes the node")
        launcher(env, "nodes")
        launcher(env, "sim", "advance", "16m")
        launcher(env, "reap", "--dry-run")
        launcher(env, "reap")
        say("What is left: nodes of this platform, and processes once the simulator has stopped")
        launcher(env, "jobs")
        nodes = wait_until_gone(lambda: json.loads(launcher(env, "nodes", "list", "--json", show=False)))
        print(f"nodes left: {len(nodes)}")
        launcher(env, "sim", "stop")
        left = wait_until_gone(lambda: processes_of(folder))
        print(f"processes left: {len(left)}", *left, sep="\n  ")
        return 1 if nodes or left else 0
    except subprocess.CalledProcessError as exc:
        print(f"demo: {Path(exc.cmd[1]).name} failed with status {exc.returncode}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted, cleaning up", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        subprocess.run([sys.executable, "-m", "launcher.sim", "stop"], env=env, capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def call(env: dict[str, str], report: Path, *arguments: str, quiet: bool = False) -> dict[str, float]:
    """Runs the example; how many seconds each part of its call took."""
    command = [sys.executable, str(EXAMPLE), "--json", str(report), *arguments]
    out = subprocess.DEVNULL if quiet else None
    subprocess.run(command, env=env, check=True, cwd=EXAMPLE.parent, stdout=out)
    timeline: dict[str, float] = json.loads(report.read_text(encoding="utf-8"))["timeline"]
    return timeline


def compare(first: dict[str, float], second: dict[str, float]) -> None:
    print(f"\n{'seconds':<16}{'first call':>12}{'second call':>14}")
    before = [part for part in first if part not in ("user code", "result")]
    for part in before:
        print(f"{part:<16}{first[part]:>12.2f}{second.get(part, 0.0):>14.2f}")
    totals = [sum(each.get(part, 0.0) for part in before) for each in (first, second)]
    print(f"{'until user code':<16}{totals[0]:>12.2f}{totals[1]:>14.2f}", flush=True)


def say(line: str) -> None:
    print(f"\n== {line}", flush=True)


def launcher(env: dict[str, str], *arguments: str, show: bool = True) -> str:
    """Runs one `launcher` command as a user would and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "launcher.cli", *arguments],
        env=env,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    if show:
        print(done.stdout, end="", flush=True)
    return done.stdout


def wait_until_gone(look: Callable[[], list[Any]]) -> list[Any]:
    """What `look` still finds when nothing is left, or after a minute: deletions go on for a moment."""
    deadline = time.monotonic() + 60
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that have to do with this demo's folder (Linux; elsewhere none are found)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            about = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue  # gone meanwhile, or another user's
        if str(folder).encode() in about and int(entry.name) != os.getpid():
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


if __name__ == "__main__":
    sys.exit(main())
