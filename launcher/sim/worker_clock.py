"""How a worker follows the simulator's time: through a folder, which LAUNCHER_CLOCK names in its environment.

`offset` holds two numbers: how many seconds the simulator's time is ahead of this machine's, and how wrong this
worker's time of day is besides. Who sleeps has a file <party>_<until>_<pid>: until when, by the machine's monotonic
clock and the first number; the process; and who goes on afterwards, a thread <pid>.<thread> or, where a process ends
by waking up, its parent <pid>. The agent and the commands `sleep` and `date` of a worker know this.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
import time
from pathlib import Path

from launcher.sim.environment import write_script
from launcher.sim.state import write_text

_SLEEP = """\
import os, sys, time
folder, units = os.environ["LAUNCHER_CLOCK"], {"s": 1, "m": 60, "h": 3600, "d": 86400}
def now():
    with open(folder + "/offset") as file:
        return time.monotonic() + float(file.read().split()[0])
try:
    until = now() + sum(float(each.rstrip("smhd")) * units.get(each[-1:], 1) for each in sys.argv[1:])
except ValueError:
    sys.exit("sleep: invalid time interval: " + " ".join(sys.argv[1:]))
asleep = f"{folder}/{os.getppid()}_{until:.6f}_{os.getpid()}"
open(asleep, "x").close()
while (left := until - now()) > 0:
    time.sleep(min(left, 0.01))
if os.path.exists(asleep):
    os.unlink(asleep)
"""
# A -d of the caller's comes later and wins.
_DATE = """\
#!/bin/sh
read -r ahead wrong < "$LAUNCHER_CLOCK/offset"
exec /bin/date -d "@$(($(/bin/date +%s) + ${ahead%.*} + ${wrong%.*}))" "$@"
"""


def write_commands(folder: Path) -> None:
    """Make `sleep` and `date` in `folder` follow LAUNCHER_CLOCK. It has a `python3` already."""
    (folder / ".sleep.py").write_text(_SLEEP)
    write_script(folder / "sleep", '#!/bin/sh\nexec "${0%/*}/python3" -I -S "${0%/*}/.sleep.py" "$@"\n')
    if sys.platform == "linux":  # elsewhere `date` spells it differently
        write_script(folder / "date", _DATE)


class WorkerClock:
    """One worker's folder, seen from the simulator. Times are by the worker's monotonic clock."""

    def __init__(self, folder: Path, wrong_s: float = 0.0) -> None:
        self.folder = folder
        self._ahead_s = 0.0
        self._wrong_s = wrong_s
        self._woken: set[str] = set()
        self._first_by = 0.0  # really: until when a first sleeper is waited for

    def begin(self, ahead_s: float, patience_s: float) -> None:
        """Before the worker's first process: nobody sleeps yet. Somebody will within `patience_s`, really."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        self._first_by = time.monotonic() + patience_s
        self._ahead_s = ahead_s
        self._write()

    def skew(self, seconds: float) -> None:
        """Let its time of day be wrong by so much."""
        self._wrong_s = seconds
        self._write()

    def _write(self) -> None:
        # Without exponents: a shell reads it as well.
        write_text(self.folder / "offset", f"{self._ahead_s:.6f} {self._wrong_s:.6f}\n")

    def next_wake(self) -> float:
        """When its next sleeper wakes; infinity where nobody sleeps."""
        return min((until for until in self._sleepers().values()), default=math.inf)

    def wake(self, now: float, ahead_s: float) -> None:
        """It is `now`; whoever slept until then is awake and expected back."""
        self._woken |= {name for name, until in self._sleepers().items() if until <= now}
        self._ahead_s = ahead_s
        self._write()

    def is_back(self) -> bool:
        """Whether everybody who was woken sleeps again or is gone, and whoever is to come first has come."""
        sleepers = self._sleepers()
        if sleepers:
            self._first_by = 0.0
        again = {_party(name) for name in sleepers.keys() - self._woken}
        self._woken -= {
            name for name in self._woken if name not in sleepers and (_party(name) in again or not _lives(_party(name)))
        }
        return not self._woken and time.monotonic() > self._first_by

    def give_up(self) -> None:
        """Do not wait for them any longer."""
        for name in self._woken:
            self._forget(name)
        self._woken.clear()
        self._first_by = 0.0

    def _sleepers(self) -> dict[str, float]:
        found = {}
        for name in os.listdir(self.folder):
            _, until, pid = [*name.split("_"), "", ""][:3]
            if until and _lives(pid):
                found[name] = float(until)
            elif until:
                self._forget(name)  # it was killed
        return found

    def _forget(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.folder / name).unlink()


def _party(name: str) -> str:
    return name.partition("_")[0]


def _lives(party: str) -> bool:
    """Whether a process <pid>, or a thread of it <pid>.<thread>, is there."""
    pid, _, thread = party.partition(".")
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/task/{thread or pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat[stat.rindex(b")") :][2:3] not in b"ZX"  # ended, and nobody has asked how
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True
