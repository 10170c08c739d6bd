"""Everything that can be wrong gets one clear message, costs nothing and leaves nothing behind."""

from __future__ import annotations

import functools
import http.server
import threading
import zipfile
from pathlib import Path

import pytest

from tests.e2e.commands import Ran
from tests.e2e.conftest import User

OK = "def f(x=None):\n    return x\n"


def refused(ran: Ran, *words: str) -> str:
    """The script failed with a message that has these words; no job was even recorded."""
    assert ran.code != 0
    message = ran.err.strip().splitlines()
    for word in words:
        assert word in ran.err, ran.err
    assert "launcher: job " not in ran.err
    return message[-1]


def test_no_profile_and_no_terminal_says_how_to_choose(user: User) -> None:
    del user.env["LAUNCHER_PROFILE"]
    refused(user.call(OK), "ConfigError", "LAUNCHER_PROFILE=simulator", "launcher profile")


def test_a_profile_that_does_not_exist_names_the_nearest(user: User) -> None:
    refused(user.call(OK, LAUNCHER_PROFILE="simulater"), "simulater", "simulator")


@pytest.mark.parametrize("key", ["bucket", "project", "profile", "storage_endpoint", "proxy_command"])
def test_a_project_file_never_chooses_where_things_are_sent(user: User, key: str) -> None:
    user.write("pyproject.toml", f'[tool.launcher]\n{key} = "evil"\n')
    refused(user.call(OK), "ConfigError", "pyproject.toml", key)


def test_an_unpicklable_argument_is_named(user: User) -> None:
    ran = user.script("import threading\n@launcher.run\ndef f(a, b): pass\nf(1, b=threading.Lock())")
    refused(ran, "PackagingError", "'b'", "lock")


def test_a_wrong_accelerator_names_the_nearest_at_decoration(user: User) -> None:
    ran = user.call(OK, options='accelerator="v5litepod-3"')
    refused(ran, "v5litepod-3", "v5litepod-4")


def test_all_problems_are_listed_at_once(user: User) -> None:
    ran = user.call(OK, options='accelerator="v7-8", timeout_s=-1, colour="blue"')
    refused(ran, "v7-8", "timeout_s", "colour")


def test_an_unknown_option_names_the_nearest(user: User) -> None:
    refused(user.call(OK, options='acelerator="v5litepod-1"'), "acelerator", "accelerator")


@pytest.mark.parametrize(
    "option",
    [
        "retries=2",
        "num_slices=2",
        "accelerator='v5litepod-16'",
    ],
)
def test_what_comes_later_says_so(user: User, option: str) -> None:
    refused(user.call(OK, options=option), "ConfigError", "later version")


def test_a_batch_comes_later_too(user: User) -> None:
    refused(user.call(OK, "f.map([1, 2])"), "ConfigError", "later version")


@pytest.mark.parametrize(
    "definition, fix",
    [
        ("class A:\n    @launcher.run\n    @staticmethod\n    def f(): pass", "put @staticmethod above"),
        ("class A:\n    @launcher.run\n    @classmethod\n    def f(cls): pass", "put @classmethod above"),
        ("import functools\n@launcher.run\n@functools.lru_cache\ndef f(): pass", "lru_cache"),
        ("@launcher.run\ndef f():\n    yield 1", "generator"),
        ("@launcher.run\nasync def f(): pass", "asyncio.run"),
        ("f = launcher.run(len)", "plain function"),
    ],
)
def test_a_callable_that_cannot_be_sent_is_refused_with_the_fix(user: User, definition: str, fix: str) -> None:
    refused(user.script(definition), "ConfigError", fix)


def test_a_captured_value_in_a_file_to_be_sent_is_named_by_variable_and_file(user: User) -> None:
    user.write("notes.txt", "the token is tok-1234567890")
    ran = user.call(OK, options='capture_env_vars=["MY_TOKEN"]', MY_TOKEN="tok-1234567890")
    refused(ran, "PackagingError", "MY_TOKEN", "notes.txt")
    assert "tok-1234567890" not in ran.err


def test_too_large_a_project_lists_its_largest_files(user: User) -> None:
    user.write("pyproject.toml", "[tool.launcher]\nmax_archive_bytes = 1000\n")
    user.write("big.bin", "x" * 5000)
    refused(user.call(OK), "PackagingError", "big.bin", ".launcherignore")


def test_a_dependency_that_does_not_resolve_is_refused_before_anything_is_spent(user: User) -> None:
    ran = user.call(OK, options='dependencies=["cloudpickle==0.0.0.1"]')
    refused(ran, "PackagingError", "cloudpickle")


def test_a_bucket_that_is_missing_is_named(user: User) -> None:
    _profile_with_bucket(user, "no-such-bucket")
    refused(user.call(OK, LAUNCHER_PROFILE="other"), "NotFound", "buckets describe gs://no-such-bucket")


def test_a_bucket_that_is_forbidden_is_named_with_the_command_that_grants_it(user: User) -> None:
    (Path(user.env["LAUNCHER_SIM_DIR"]) / "gcs" / "forbidden" / "somebodys-bucket").touch()
    _profile_with_bucket(user, "somebodys-bucket")
    fix = "add-iam-policy-binding gs://somebodys-bucket"
    refused(user.call(OK, LAUNCHER_PROFILE="other"), "PermissionDenied", fix)


@pytest.mark.parametrize(
    "missing, told",
    [
        (("storage.objects.create", "tpu.nodes.create"), "tpu.nodes.create (project); storage.objects.create (jobs"),
        (("tpu.nodes.create", "tpu.nodes.update"), "tpu.nodes.create, tpu.nodes.update (project)."),
    ],
    ids=["while packing", "while asking for a node"],
)
def test_a_refused_call_names_all_permissions_that_are_missing(user: User, missing: tuple[str, ...], told: str) -> None:
    faults = [("missing-permission", each) for each in missing]
    for fault, value in faults:
        assert user.launcher("sim", "inject", fault, "--value", value).code == 0
    ran = user.call(OK)
    for fault, value in faults:
        assert user.launcher("sim", "inject", fault, "--value", value, "--off").code == 0
    assert ran.code == 1 and f"lacks: {told}" in ran.err
    assert ran.err.count("\n  gcloud ") == len({each.partition(".")[0] for each in missing}), ran.err


def _profile_with_bucket(user: User, bucket: str) -> None:
    """A saved profile of the same simulator with another bucket."""
    import json

    status = json.loads(user.launcher("sim", "status", "--json").out)
    settings = {
        "project": status["project"],
        "zones": "us-central1-a",
        "bucket": bucket,
        "platform": "sim",
        "connect": "external",
        "ssh_port": str(status["ssh_port"]),
        "tpu_endpoint": status["tpu"],
        **dict.fromkeys(["resource_manager_endpoint", "service_usage_endpoint", "iam_endpoint"], status["tpu"]),
        "storage_endpoint": status["storage"],
        "credentials": "anonymous",
        "owner": "somebody",
    }
    user.env["LAUNCHER_CONFIG_DIR"] = str(user.folder.parent / "config")
    done = user.launcher("profile", "add", "other", *(f"{key}={value}" for key, value in settings.items()))
    assert done.code == 0, done.err


def test_a_result_that_cannot_be_pickled_fails_by_name_and_keeps_the_log(user: User) -> None:
    ran = user.script(
        """
        @launcher.run
        def f():
            import threading
            print("before")
            return {"ok": 1, "bad": threading.Lock()}

        try:
            f()
        except launcher.JobError as exc:
            report(str(exc))
        """
    )
    assert "lock" in ran.value and "before" in ran.out


def test_an_exception_that_cannot_be_pickled_still_tells_type_message_and_traceback(user: User) -> None:
    ran = user.script(
        """
        import threading

        class Held(ValueError):
            def __init__(self, message):
                super().__init__(message)
                self.lock = threading.Lock()

        @launcher.run
        def f():
            raise Held("my message")

        try:
            f()
        except ValueError as exc:
            report([str(exc), str(exc.__cause__)])
        """
    )
    message, cause = ran.value
    assert "my message" in message
    assert "Held: my message" in cause and "raise Held" in cause


def test_an_exception_whose_type_exists_only_there_is_raised_as_the_nearest_type(user: User) -> None:
    ran = user.script(
        """
        @launcher.run
        def f():
            import sys, types
            module = types.ModuleType("only_there")
            exec("class Special(KeyError): pass", module.__dict__)
            sys.modules["only_there"] = module
            raise module.Special("gone")

        try:
            f()
        except KeyError as exc:
            report([type(exc).__name__, "only_there.Special" in str(exc.__cause__)])
        """
    )
    assert ran.value == ["Special", True]


def test_a_result_whose_type_is_not_here_leaves_the_job_succeeded_and_names_the_package(user: User) -> None:
    ran = user.script(
        """
        @launcher.run
        def f():
            import sys, types
            module = types.ModuleType("only_there")
            exec("class Thing: pass", module.__dict__)
            sys.modules["only_there"] = module
            return module.Thing()

        job = f.submit()
        try:
            job.result()
        except launcher.ResultUnavailable as exc:
            report([str(exc), str(job.status())])
        """
    )
    message, status = ran.value
    assert "only_there" in message and status == "SUCCEEDED"


def test_a_function_out_of_memory_says_so(user: User) -> None:
    ran = user.script(
        """
        @launcher.run
        def f():
            import resource
            resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
            return len(bytearray(2**33))

        try:
            f()
        except launcher.JobError as exc:
            report([str(exc), str(exc.__cause__)])
        """
    )
    message, cause = ran.value
    assert "out of memory" in message and "bytearray(2**33)" in cause


def test_an_install_failure_is_a_setup_error_with_the_installers_last_lines(user: User) -> None:
    folder = user.folder.parent / "index"
    _corrupt_wheel(folder)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ran = user.script(
            """
            @launcher.run(dependencies=["broken"])
            def f():
                return 1

            try:
                f()
            except launcher.SetupError as exc:
                report(str(exc))
            """,
            UV_FIND_LINKS=f"http://127.0.0.1:{server.server_port}/",
        )
        server.shutdown()
    assert "broken" in ran.value and "packages could not be installed" in ran.value


def _corrupt_wheel(folder: Path) -> None:
    """A wheel that resolves (its metadata is fine) and cannot be installed."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "broken-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("broken-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
        wheel.writestr("broken-1.dist-info/WHEEL", "not a wheel file")
        names = ["METADATA", "WHEEL", "RECORD"]
        wheel.writestr("broken-1.dist-info/RECORD", "".join(f"broken-1.dist-info/{name},,\n" for name in names))


@pytest.mark.parametrize("what", ["result", "outcome"])
def test_a_tampered_ending_is_refused_and_nothing_is_unpickled(user: User, what: str) -> None:
    ran = user.script(
        f"""
        import os, pickle
        from google.cloud import storage
        from google.auth.credentials import AnonymousCredentials

        @launcher.run
        def f():
            return "good"

        class Evil:
            def __reduce__(self):
                return print, ("EVIL CODE RAN",)

        job = f.submit()
        job.wait()
        client = storage.Client(project="p", credentials=AnonymousCredentials(),
                                client_options={{"api_endpoint": launcher_endpoint()}})
        bucket = client.bucket(job.record.platform and "simulated-jobs")
        root = f"owners/{{job.record.owner}}/jobs/{{job.id}}/"
        if {what!r} == "result":
            bucket.blob(root + "attempts/1/result.pkl").upload_from_string(pickle.dumps(Evil()))
        else:
            blob = bucket.blob(root + "outcome.json")
            blob.upload_from_string(blob.download_as_bytes().replace(b'SUCCEEDED', b'FAILED'))
        try:
            launcher.attach(job.id).result()
        except launcher.ResultUntrusted as exc:
            report(str(exc))
        """.replace("launcher_endpoint()", "os.environ['SIM_URL']"),
        SIM_URL=_url(user),
    )
    assert "changed" in ran.value and "EVIL" not in ran.out


def _url(user: User) -> str:
    import json

    url: str = json.loads(user.launcher("sim", "status", "--json").out)["storage"]
    return url


def test_a_tampered_payload_is_not_run(user: User) -> None:
    ran = user.script(
        """
        import os
        from google.cloud import storage
        from google.auth.credentials import AnonymousCredentials

        @launcher.run
        def f(x):
            return x

        job = f.submit("constant")
        job.wait()
        client = storage.Client(project="p", credentials=AnonymousCredentials(),
                                client_options={"api_endpoint": os.environ["SIM_URL"]})
        blob = client.bucket("simulated-jobs").blob(f"owners/{job.record.owner}/blobs/{job.record.payload.sha256}")
        blob.upload_from_string(b"x" * job.record.payload.size)
        try:
            f("constant")
        except launcher.LauncherError as exc:
            report([type(exc).__name__, str(exc)])
        finally:
            blob.delete()
        """,
        SIM_URL=_url(user),
    )
    name, message = ran.value
    assert name == "JobError" and "payload" in message and "tampered" in message


def test_a_worker_with_another_host_key_is_not_talked_to(user: User) -> None:
    process = user.start(
        str(
            user.prepare(
                """
                @launcher.run
                def f():
                    import os, time
                    print("running", flush=True)
                    while not os.path.exists(GO): time.sleep(0.05)

                try:
                    f()
                except launcher.ConnectError as exc:
                    report(str(exc))
                """.replace("GO", repr(str(user.folder.parent / "go")))
            )
        )
    )
    assert process.stdout is not None and process.stdout.readline() == "running\n"
    assert user.launcher("sim", "inject", "changed-host-key").code == 0
    assert user.launcher("sim", "inject", "dropped-connection").code == 0
    message = user.finish(process).value
    assert "host key" in message and "worker 0" in message


def test_a_taken_simulator_port_is_named(user: User) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = user.launcher("sim", "start", "--port", port, LAUNCHER_SIM_DIR=str(user.folder.parent / "sim2"))
    assert ran.code != 0 and port in ran.err and "Traceback" not in ran.err


def test_no_capacity_is_its_own_error_with_advice(user: User) -> None:
    assert user.launcher("sim", "inject", "stockout").code == 0
    ran = user.script(
        "@launcher.run(zone='us-central1-a')\ndef f(): pass\n"
        "try:\n    f()\nexcept launcher.OutOfCapacity as exc:\n    report(str(exc))"
    )
    assert "us-central1-a" in ran.value and "zone=" in ran.value
