"""What Google's own Terraform providers sent for 54 resources, sent again: the answers that satisfied them come back.

The recording (provider-trace.jsonl) was made against a small stub, so its answers are not Google's word; where the
simulator says more or something else on purpose, DELIBERATE says where and why. Nothing else may differ but what is
made up anew each time: ids, times, hashes, etags, sizes and the names of operations.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from launcher.sim import control
from tests.sim.tpu_fixtures import TIMEOUT_S, simulator, until

TRACE = Path(__file__).with_name("provider-trace.jsonl")

#: Fields whose value is another one each time.
MADE_UP = {
    "ids": {"generation", "id", "oauth2ClientId", "uid", "uniqueId"},
    "times": {
        *("createTime", "creationTimestamp", "endTime", "insertTime", "mutateTime", "startTime", "timeCreated"),
        *("updateTime", "updated", "userUpdateTime"),
    },
    "hashes": {"crc32c", "fingerprint", "md5Hash"},
    "etags": {"etag"},
    "sizes": {"size"},
}
ANEW = set().union(*MADE_UP.values())

#: What the stub says where it has nothing to say.
PLACEHOLDER = re.compile(r"x|a@b|.*/x")

_TPU = r"/tpu\.googleapis\.com/.*"
_OBJECT = r"/(upload/)?storage/v1/b/[^/]+/o.*"
_ANSWERS = r"(response\.)?"  # of an operation, or of the resource itself
#: (path of the request, field of the answer with [] for list items, why ours is another one)
DELIBERATE = [
    (r".*", r"error\.message|error\.errors\[\]\.message", "Google's words, where the stub says 'not found'"),
    (r".*", r"error\.errors\[\]\.domain", "Google's errors have one"),
    (r"/storage/.*/anywhereCaches/\?.*", r"\(status\)", "after a 404 the provider does not empty a bucket"),
    (r"/storage/.*/o\?.*", r"items", "Cloud Storage leaves out what is empty"),
    (_OBJECT, r"contentType", "the stub does not read it from the multipart body"),
    (_OBJECT, r"etag|timeStorageClassUpdated", "Cloud Storage tells them"),
    (_TPU, r"metadata\.cancelRequested|metadata\.endTime", "the Cloud TPU API tells them"),
    (_TPU, _ANSWERS + r"state\.(state|acceptedData|activeData)", "it becomes ACTIVE in its time, and tells more of it"),
    (_TPU, _ANSWERS + r"cidrBlock|" + _ANSWERS + r"networkEndpoints\[\]\.ipAddress", "where the simulated worker is"),
    (
        r".*/clusters/tpu\?.*",
        r"controlPlaneEndpointsConfig\.dnsEndpointConfig\.endpoint",
        "the reaper lists Pods there",
    ),
    (r".*/clusters/tpu.*", r"(nodePools\[\]\.)?instanceGroupUrls", "the reaper reads the size of a pool there"),
    (r".*/repositories.*", _ANSWERS + r"registryUri", "Google's, by location and format"),
]


class Replay:
    """Sends the recorded requests in order. What the simulator called differently is called so from then on."""

    def __init__(self, status: control.Status) -> None:
        self.status = status
        self.renamed = {"demo-project": status["project"]}
        self.differences: list[str] = []
        self.deliberate: set[int] = set()

    def run(self, entry: dict[str, Any]) -> None:
        path = self.now_called(entry["path"])
        body = entry.get("body")
        expected = self.now_called(entry["answer"])

        def ask() -> tuple[int, Any]:
            return self.request(entry["method"], path, body)

        if "/operations/" in path:  # the stub was done at once
            code, answer = until(ask, lambda seen: seen[0] != 200 or seen[1]["done"])
        else:
            code, answer = ask()
        where = f"{entry['method']} {path}"
        if code != entry["status"]:
            self.compare(f"{where}: {answer}", path, "(status)", entry["status"], code)
            return
        self.learn(entry["answer"], answer)
        self.compare(where, path, "", self.plain(expected), self.plain(answer))

    def request(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.status["tpu"].removeprefix("http://"), timeout=TIMEOUT_S)
        headers = {}
        content: bytes | None = None
        if isinstance(body, str):
            content, headers["Content-Type"] = completed(body)
        elif body is not None:
            content = json.dumps(self.now_called(body)).encode()
        try:
            connection.request(method, path, body=content, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def now_called(self, recorded: Any) -> Any:
        """A recorded value with our names in it."""
        text = json.dumps(recorded)
        for old in sorted(self.renamed, key=len, reverse=True):
            text = text.replace(old, self.renamed[old])
        return json.loads(text)

    def learn(self, recorded: Any, ours: Any) -> None:
        """Remember which ids, etags and operations of ours stand for the recorded ones."""
        if isinstance(recorded, dict) and isinstance(ours, dict):
            for key in recorded.keys() & ours.keys():
                if key in ("etag", "name", "uid", "uniqueId") and isinstance(recorded[key], str):
                    self.rename(key, recorded[key], ours[key])
                else:
                    self.learn(recorded[key], ours[key])
        elif isinstance(recorded, list) and isinstance(ours, list):
            for one, other in zip(recorded, ours, strict=False):
                self.learn(one, other)

    def rename(self, key: str, recorded: str, ours: str) -> None:
        if key == "etag":
            if len(recorded) > 3:  # shorter ones ("x", "abc") nobody sends back
                self.renamed[recorded] = ours
            return
        for pattern in (OPERATION, NUMBER):
            self.renamed |= zip(pattern.findall(recorded), pattern.findall(ours), strict=True)

    def plain(self, value: Any) -> Any:
        """A body as it is compared: numbers and operations by what they are, and no address."""
        if isinstance(value, dict):
            return {key: self.plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        if not isinstance(value, str):
            return value
        text = unquote(value.replace(self.status["tpu"], "http://SIM").replace("SIM/storage.googleapis.com", "SIM"))
        return NUMBER.sub("<number>", OPERATION.sub("<operation>", text))

    def compare(self, where: str, path: str, field: str, expected: Any, actual: Any) -> None:
        for number, (paths, fields, _) in enumerate(DELIBERATE):
            if expected != actual and re.fullmatch(paths, path) and re.fullmatch(fields, field):
                self.deliberate.add(number)
                return
        if ABSENT not in (expected, actual) and field.rpartition(".")[2] in ANEW:
            return
        if isinstance(expected, dict) and isinstance(actual, dict):
            for key in sorted(expected.keys() | actual.keys()):
                inner = f"{field}.{key}" if field else key
                self.compare(where, path, inner, expected.get(key, ABSENT), actual.get(key, ABSENT))
        elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
            for one, other in zip(expected, actual, strict=True):
                self.compare(where, path, f"{field}[]", one, other)
        elif expected != actual and not (isinstance(expected, str) and PLACEHOLDER.fullmatch(expected)):
            self.differences.append(f"{where}: {field} is {actual!r}, recorded {expected!r}")


ABSENT = "(absent)"
NUMBER = re.compile(r"(?<![\d-])\d{19}")
OPERATION = re.compile(r"operation-[0-9a-f-]+")


def completed(multipart: str) -> tuple[bytes, str]:
    """A multipart body that the recording cut, with an end, and its content type."""
    boundary = multipart.split("\r\n", 1)[0].removeprefix("--")
    content = multipart.removesuffix("\u2026").encode() + f"\r\n--{boundary}--\r\n".encode()
    return content, f"multipart/related; boundary={boundary}"


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Status]:
    with simulator(tmp_path_factory.mktemp("trace") / "sim") as running:
        yield running


def test_the_recording_plays_again(status: control.Status) -> None:
    replay = Replay(status)
    for service in ("tpu.googleapis.com", "storage.googleapis.com"):  # the stub began with none
        path = f"/serviceusage.googleapis.com/v1/projects/{status['project']}/services/{service}:disable"
        assert replay.request("POST", path, {})[0] == 200
    entries = [json.loads(line) for line in TRACE.read_text("utf-8").splitlines()]
    sent = [entry for entry in entries if "step" not in entry]
    for entry in sent:
        replay.run(entry)
    assert len(sent) == 347 and replay.differences == []
    # An exception that nothing needs any more hides what comes later.
    assert [DELIBERATE[number][1] for number in range(len(DELIBERATE)) if number not in replay.deliberate] == []
