"""Requests to one GCS bucket: urls, errors, retries. What storage.py and gcs_transfer.py share."""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Callable
from typing import Any, TypeVar

from launcher.cloud import credentials as _credentials
from launcher.cloud.retry import Call, Deadline, with_retries
from launcher.cloud.seams import Clock
from launcher.errors import NotFound

T = TypeVar("T")

REQUEST_TIMEOUT_S = 60.0
_CONNECTIONS = 32  # requests keeps 10 by default, and complains on standard error about the eleventh


class GcsSession:
    """Thread-safe. `timeout_s`: how long one call is repeated while GCS is unavailable."""

    def __init__(
        self, bucket: str, endpoint: str, project: str, credentials: str, clock: Clock, timeout_s: float
    ) -> None:
        self.bucket = bucket
        self.endpoint = endpoint.rstrip("/")
        self._project = project
        self._credentials_kind = credentials
        self._clock = clock
        self._timeout_s = timeout_s

    @functools.cached_property
    def client(self) -> Any:
        """The google.cloud.storage client. Two threads may make two of them at first; either works."""
        from google.cloud.storage import Client
        from requests.adapters import HTTPAdapter

        client = Client(
            project=self._project or "none",
            credentials=_credentials.load(self._credentials_kind),
            client_options={"api_endpoint": self.endpoint},
        )
        # It would ask for the bucket's metadata in a thread of its own, for traces that nobody collects here,
        # with a permission (storage.buckets.get) that nothing else here needs.
        client._bucket_metadata_cache = None
        client._http.trust_env = self.endpoint.startswith("https:")  # no proxy leads to a simulator
        client._http.mount(f"{self.endpoint}/", HTTPAdapter(pool_maxsize=_CONNECTIONS))
        return client

    def blob(self, name: str) -> Any:
        return self.client.bucket(self.bucket).blob(name)

    def request(self, method: str, url: str, *, accept: tuple[int, ...] = (), **options: Any) -> Any:
        """A requests.Response with a 2xx status or one of `accept`; other answers raise google's exceptions.

        The client's own methods do not show the headers of an answer, of which records need the Date.
        """
        from google.api_core.exceptions import from_http_status

        answer = self.client._http.request(method, url, timeout=REQUEST_TIMEOUT_S, allow_redirects=False, **options)
        if 200 <= answer.status_code < 300 or answer.status_code in accept:
            return answer
        with answer:
            raise from_http_status(  # type: ignore[no-untyped-call]  # google-api-core is partly untyped
                answer.status_code, answer.text, response=answer
            )

    def get_media(self, name: str, *, accept: tuple[int, ...] = (), generation: str = "", **options: Any) -> Any:
        """The answer with an object's bytes, of one generation where it is given."""
        url = f"{self.endpoint}/download/storage/v1/b/{self.bucket}/o/{urllib.parse.quote(name, safe='')}"
        query = {"alt": "media"} | ({"generation": generation} if generation else {})
        return self.request("GET", url, accept=accept, params=query, **options)

    def call(self, function: Callable[[], T], about: Call) -> T:
        """`function()` with retries; our errors."""
        deadline = Deadline(self._clock, self._timeout_s)
        return with_retries(function, about, clock=self._clock, deadline=deadline)

    def find(self, function: Callable[[], T], about: Call) -> T | None:
        """As `call`; None where the object is not there. Raises NotFound where the bucket is not."""
        try:
            return self.call(function, about)
        except NotFound as exc:
            certain = "No such object" in str(exc)
        if not certain:  # a listing tells: it is a 404 for the bucket only
            options = {"max_results": 1, "timeout": REQUEST_TIMEOUT_S, "retry": None}
            self.call(lambda: list(self.client.list_blobs(self.bucket, **options)), about)
        return None

    def about(self, action: str, name: str, permission: str) -> Call:
        return Call(
            action=f"{action} gs://{self.bucket}/{name}",
            resource=f"bucket {self.bucket}",
            project=self._project,
            service="storage.googleapis.com",
            permission=permission,
            member=_credentials.member(_credentials.load(self._credentials_kind)),
            grant=f"gcloud storage buckets add-iam-policy-binding gs://{self.bucket} "
            "--role=roles/storage.objectUser --member={member}",
            missing=f"Check the bucket that the profile names: gcloud storage buckets describe gs://{self.bucket}",
        )
