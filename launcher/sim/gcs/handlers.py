"""The routes of the simulated Cloud Storage: which method and path mean what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from launcher.sim.gcs import media, uploads
from launcher.sim.gcs.call import Call
from launcher.sim.gcs.errors import GcsError, invalid, required
from launcher.sim.gcs.glob import compiled
from launcher.sim.gcs.listing import MAX_RESULTS, ListQuery
from launcher.sim.gcs.model import Preconditions, integer, merged, writable_fields
from launcher.sim.gcs.policies import policy_resource
from launcher.sim.gcs.resources import bucket_resource, object_resource
from launcher.sim.gcs.sessions import Sessions
from launcher.sim.gcs.store import Store
from launcher.sim.google_calls import PROJECT_NUMBER

_METHODS = ["DELETE", "GET", "PATCH", "POST", "PUT"]
_BUCKET_READ_ONLY = {"etag", "id", "kind", "metageneration", "name", "projectNumber", "selfLink"}


def routes(store: Store, *, unavailable: Callable[[], bool]) -> list[Route]:
    """The routes of the JSON, upload and download APIs over `store`, to be mounted at the server's root.

    `unavailable` is asked once per request; True means that this request is answered 503.
    """
    sessions = Sessions(store.folder / "uploads")

    async def handle(request: Request) -> Response:
        call = Call(request, store, sessions)
        try:
            try:
                if unavailable():
                    raise GcsError(503, "backendError", "Service Unavailable. Please try again.")
                return await _dispatch(call, _parts(request))
            except GcsError as error:
                await call.drain()
                return call.error(error)
        except ClientDisconnect:
            return Response(status_code=499)

    roots = ("/storage/v1", "/upload/storage/v1", "/download/storage/v1")
    return [Route(f"{root}/{{rest:path}}", handle, methods=_METHODS) for root in roots]


def _parts(request: Request) -> list[str]:
    """The path's segments, split before they are decoded: a slash in an object's name is %2F."""
    raw: bytes = request.scope["raw_path"]
    try:
        return [unquote(part, errors="strict") for part in raw.decode("ascii").split("/")[1:]]
    except UnicodeDecodeError:
        raise invalid("The path is not UTF-8.") from None


async def _dispatch(call: Call, parts: list[str]) -> Response:
    match call.method, parts:
        case "POST", ["upload", "storage", "v1", "b", bucket, "o"]:
            return await uploads.insert(call, bucket)
        case "PUT", ["upload", "storage", "v1", "b", _, "o"]:
            return await uploads.resume(call)
        case "DELETE", ["upload", "storage", "v1", "b", _, "o"]:
            return await uploads.cancel(call)
        case "GET", ["download", "storage", "v1", "b", bucket, "o", name] if call.wants_media:
            return await media.download(call, bucket, name)
        case _, ["storage", "v1", "b", *rest] if len(rest) < 2 or rest[1] in ("anywhereCaches", "iam", "storageLayout"):
            return await _dispatch_bucket(call, rest)
        case _, ["storage", "v1", "b", *rest]:
            return await _dispatch_object(call, rest)
        case "GET", ["storage", "v1", "projects", _, "serviceAccount"]:
            email = f"service-{PROJECT_NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
            return call.json({"kind": "storage#serviceAccount", "email_address": email})
    raise _no_such_method(call)


async def _dispatch_bucket(call: Call, rest: list[str]) -> Response:
    match call.method, rest:
        case "GET", []:
            return await _list_buckets(call)
        case "POST", []:
            return await _insert_bucket(call)
        case "GET", [bucket]:
            record = await run_in_threadpool(call.store.bucket, bucket, Preconditions.parse(call.query))
            return call.json(bucket_resource(record, call.base_url))
        case "PATCH", [bucket]:
            change = _bucket_fields(await call.document())
            preconditions = Preconditions.parse(call.query)
            record = await run_in_threadpool(call.store.patch_bucket, bucket, change, preconditions)
            return call.json(bucket_resource(record, call.base_url))
        case "DELETE", [bucket]:
            await run_in_threadpool(call.store.delete_bucket, bucket, Preconditions.parse(call.query))
            return Response(status_code=204)
        case "GET", [bucket, "anywhereCaches", *_]:
            # There are none; but where it cannot list them, Terraform deletes a bucket without emptying it first.
            await run_in_threadpool(call.store.bucket, bucket)
            return call.json({"kind": "storage#anywhereCaches"})
        case "GET", [bucket, "storageLayout"]:  # `gcloud storage rm --recursive` asks whether there are folders
            await run_in_threadpool(call.store.bucket, bucket)
            return call.json({"kind": "storage#storageLayout", "bucket": bucket})
        case "GET", [bucket, "iam", "testPermissions"]:
            await run_in_threadpool(call.store.bucket, bucket)
            document = {"kind": "storage#testIamPermissionsResponse", "permissions": call.permissions}
            return call.json(document)
        case "GET", [bucket, "iam"]:
            return call.json(policy_resource(await run_in_threadpool(call.store.bucket, bucket)))
        case "PUT", [bucket, "iam"]:
            policy = await call.document()
            return call.json(policy_resource(await run_in_threadpool(call.store.set_policy, bucket, policy)))
    raise _no_such_method(call)


async def _dispatch_object(call: Call, rest: list[str]) -> Response:
    match call.method, rest:
        case "GET", [bucket, "o"]:
            return await _list_objects(call, bucket)
        case "GET", [bucket, "o", name] if call.wants_media:
            return await media.download(call, bucket, name)
        case "GET", [bucket, "o", name]:
            stored = await run_in_threadpool(call.store.get, bucket, name, **_target(call))
            return call.json(object_resource(stored, call.base_url), headers={"etag": stored.etag})
        case ("PATCH" | "PUT") as method, [bucket, "o", name]:
            change = writable_fields(await call.document())
            stored = await run_in_threadpool(
                call.store.patch, bucket, name, change, replace_all=method == "PUT", **_target(call)
            )
            return call.json(object_resource(stored, call.base_url), headers={"etag": stored.etag})
        case "DELETE", [bucket, "o", name]:
            await run_in_threadpool(call.store.delete, bucket, name, **_target(call))
            return Response(status_code=204)
        case "POST", [bucket, "o", name, ("rewriteTo" | "copyTo") as verb, "b", to_bucket, "o", to_name]:
            resource = await _copy(call, (bucket, name), (to_bucket, to_name))
            if verb == "copyTo":
                return call.json(resource)
            size = resource["size"]
            answer = {"kind": "storage#rewriteResponse", "totalBytesRewritten": size, "objectSize": size}
            return call.json(answer | {"done": True, "resource": resource})
    raise _no_such_method(call)


def _target(call: Call) -> dict[str, Any]:
    """Which generation a request means, and what must hold for it."""
    preconditions = Preconditions.parse(call.query)
    return {"generation": integer(call.query, "generation"), "preconditions": preconditions}


async def _copy(call: Call, source: tuple[str, str], target: tuple[str, str]) -> dict[str, Any]:
    """Metadata in the request replaces that of the source."""
    document = await call.document()
    stored = await run_in_threadpool(
        call.store.get,
        *source,
        generation=integer(call.query, "sourceGeneration"),
        preconditions=Preconditions.parse(call.query, prefix="ifSource"),
        reading=False,
    )
    fields = writable_fields(document) or stored.fields
    preconditions = Preconditions.parse(call.query)
    copied = await run_in_threadpool(call.store.copy, stored, *target, fields, preconditions)
    return object_resource(copied, call.base_url)


async def _list_objects(call: Call, bucket: str) -> Response:
    glob = call.query.get("matchGlob")
    if glob and call.query.get("delimiter", "/") != "/":
        raise invalid("The delimiter must be / where matchGlob is given.", parameter="delimiter")
    query = ListQuery(
        prefix=call.query.get("prefix", ""),
        delimiter=call.query.get("delimiter", ""),
        start=call.query.get("startOffset", ""),
        end=call.query.get("endOffset") or None,
        page_token=call.query.get("pageToken") or None,
        limit=_limit(call),
        include_trailing_delimiter=call.flag("includeTrailingDelimiter"),
        glob=compiled(glob) if glob else None,
    )
    objects, page = await run_in_threadpool(call.store.list_objects, bucket, query)
    document: dict[str, Any] = {
        "kind": "storage#objects",
        "nextPageToken": page.next_token,
        "prefixes": page.prefixes,
        "items": [object_resource(stored, call.base_url) for stored in objects],
    }
    # The service leaves out what is empty; clients must not count on the keys.
    return call.json({name: value for name, value in document.items() if value})


async def _list_buckets(call: Call) -> Response:
    if not call.query.get("project"):
        raise required("project")
    records = await run_in_threadpool(call.store.list_buckets, call.query["project"])
    after, prefix, limit = call.query.get("pageToken", ""), call.query.get("prefix", ""), _limit(call)
    found = [record for record in records if record.name > after and record.name.startswith(prefix)]
    document: dict[str, Any] = {
        "kind": "storage#buckets",
        "items": [bucket_resource(record, call.base_url) for record in found[:limit]],
    }
    if len(found) > limit:
        document["nextPageToken"] = found[limit - 1].name
    return call.json(document)


async def _insert_bucket(call: Call) -> Response:
    if not call.query.get("project"):
        raise required("project")
    document = await call.document()
    name = document.get("name")
    if not isinstance(name, str):
        raise required("name")
    record = await run_in_threadpool(
        call.store.create_bucket,
        name,
        project=call.query["project"],
        fields=merged({}, _bucket_fields(document)),
    )
    return call.json(bucket_resource(record, call.base_url))


def _bucket_fields(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _BUCKET_READ_ONLY}


def _limit(call: Call) -> int:
    wanted = integer(call.query, "maxResults", minimum=1)
    return MAX_RESULTS if wanted is None else min(wanted, MAX_RESULTS)


def _no_such_method(call: Call) -> GcsError:
    return GcsError(404, "notFound", f"The simulated Cloud Storage has no such method: {call.method} on this path.")
