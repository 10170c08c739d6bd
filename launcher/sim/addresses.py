"""Loopback addresses and ports for the workers of one simulator."""

from __future__ import annotations

import ipaddress
import secrets
import socket

from launcher.sim.state import State

_PER_SIMULATOR = 65536


class Addresses:
    """Hands out addresses in 127.N.0.0/16, N being this simulator's own and kept in its state.

    Two simulators with the same N do not meet: each has ports of its own.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        # 127.0.x.y is left to others: local resolvers and test suites use it.
        state.settings.setdefault("network", 1 + secrets.randbelow(254))

    def take(self, count: int) -> list[str]:
        """`count` addresses that no node of the state has, the least recently used first."""
        used = {
            endpoint["ipAddress"]
            for node in self._state.nodes.values()
            for endpoint in node.get("networkEndpoints", [])
        }
        base = int(ipaddress.IPv4Address(f"127.{self._state.settings['network']}.0.0"))
        taken: list[str] = []
        position = self._state.settings.get("next_address", 0)
        while len(taken) < count:
            position = position % (_PER_SIMULATOR - 2) + 1  # neither .0.0 nor .255.255
            address = str(ipaddress.IPv4Address(base + position))
            if address not in used:
                taken.append(address)
        self._state.settings["next_address"] = position
        return taken

    def port(self, name: str) -> int:
        """A port free at our addresses, remembered in the state as `name`. Raises OSError if there is none."""
        settings = self._state.settings
        others = {value for key, value in settings.items() if key != name}
        wanted = settings.get(name, 0)
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((f"127.{settings['network']}.0.1", wanted))
                except OSError:
                    if wanted == 0:
                        raise
                    wanted = 0  # somebody took the port of last time while we were stopped
                    continue
                found: int = probe.getsockname()[1]
            if found not in others:
                settings[name] = found
                return found
