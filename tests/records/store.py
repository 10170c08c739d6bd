"""A record store in memory with GCS's rules for generations, and a clock that tests move."""

from __future__ import annotations

import threading

from launcher.records.swap import Stored


class MemoryStore:
    """`lose_answers`: that many writes take effect and are then answered as refused (a retry after a lost answer)."""

    def __init__(self, lose_answers: int = 0) -> None:
        self.now = 1_000_000.0
        self.lose_answers = lose_answers
        self._objects: dict[str, tuple[bytes, int, float]] = {}
        self._generation = 0
        self._lock = threading.Lock()

    def read(self, name: str) -> Stored | None:
        with self._lock:
            found = self._objects.get(name)
            return None if found is None else Stored(*found, self.now)

    def time(self) -> float:
        return self.now

    def create(self, name: str, data: bytes) -> int | None:
        return self.replace(name, data, 0)

    def replace(self, name: str, data: bytes, generation: int) -> int | None:
        with self._lock:
            found = self._objects.get(name)
            if (found[1] if found else 0) != generation:
                return None
            self._generation += 1
            self._objects[name] = (data, self._generation, self.now)
            if self.lose_answers:
                self.lose_answers -= 1
                return None
            return self._generation
