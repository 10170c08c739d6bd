"""Requests to one GCS bucket: urls, errors, retries. What storage.py and gcs_transfer.py share."""

from __future__ import annotations

import functools
import threading
import urllib.parse
from collections.abc import Callable, Mapping
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
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        """The google.cloud.storage client."""
        with self._lock:
            return self._client

    @functools.cached_property
    def _client(self) -> Any:
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
        client._http.mount(f"{self.endpoint}/", HTTPAdapter(pool_maxsize=_CONNECTIONS))
        return client

    def upload_url(self) -> str:
        return f"{self.endpoint}/upload/storage/v1/b/{self.bucket}/o"

    def media_url(self, name: str) -> str:
        quoted = urllib.parse.quote(name, safe="")
        return f"{self.endpoint}/download/storage/v1/b/{self.bucket}/o/{quoted}"

    def request(
        self,
        method: str,
        url: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        stream: bool = False,
        accept: tuple[int, ...] = (),
    ) -> Any:
        """A requests.Response with a 2xx status or one of `accept`; other answers raise google's exceptions.

        The client's own methods do not show the headers of an answer, of which records need the Date.
        """
        from google.api_core.exceptions import from_http_status

        answer = self.client._http.request(
            method,
            url,
            params=dict(query or {}),
            headers=dict(headers or {}),
            data=data,
            stream=stream,
            timeout=REQUEST_TIMEOUT_S,
            allow_redirects=False,
        )
        if 200 <= answer.status_code < 300 or answer.status_code in accept:
            return answer
        with answer:
            raise from_http_status(  # type: ignore[no-untyped-call]  # google-api-core is partly untyped
                answer.status_code, answer.text, response=answer
            )

    def call(self, function: Callable[[], T], about: Call) -> T:
        """`function()` with retries; our errors."""
        deadline = Deadline(self._clock, self._timeout_s)
        return with_retries(function, about, clock=self._clock, deadline=deadline)

    def absent_is_none(self, function: Callable[[], T], about: Call) -> T | None:
        """As `call`; None where the object is not there. Raises NotFound where the bucket is not."""
        try:
            return self.call(function, about)
        except NotFound as exc:
            text = str(exc)
            if "bucket does not exist" not in text and ("No such object" in text or self._bucket_exists()):
                return None
            raise

    def _bucket_exists(self) -> bool:
        about = self.about("looking at", "", "storage.objects.list")
        try:  # storage.buckets.get would be a permission that nothing else here needs
            self.call(
                lambda: list(self.client.list_blobs(self.bucket, page_size=1, max_results=1, retry=None)),
                about,
            )
        except NotFound:
            return False
        return True

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
