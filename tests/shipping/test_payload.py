from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import importlib
import pickle
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import pytest

import launcher
from launcher.errors import PackagingError
from launcher.job import Job
from launcher.shipping import payload
from launcher.shipping.blobs import LocalBlob, Spool
from launcher.shipping.cache import Cache
from launcher.shipping.captured import Search

LOCK = threading.Lock()


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Settings:
    name: str
    handle: Any = None


class Trainer:
    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def fit(self) -> Any:
        return self.handle


def plain(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


Write = Callable[..., LocalBlob]


@pytest.fixture
def write(cache: Cache) -> Iterator[Write]:
    with contextlib.ExitStack() as files:

        def make(function: Any, *args: Any, values: dict[str, str] | None = None, **kwargs: Any) -> LocalBlob:
            return payload.write(function, args, kwargs, Search(values or {}, cache), files)[0]

        yield make


def loaded(call: LocalBlob) -> tuple[Any, Any, Any]:
    with call.open() as file:
        return pickle.load(file)


def by_value(source: str, **names: Any) -> Any:
    """A function as typed into a prompt: it travels by value, with what it uses."""
    module = types.ModuleType("__main__")
    vars(module).update(names)
    exec(source, vars(module))
    return vars(module)["f"]


def test_arguments_arrive_as_they_were(write: Write) -> None:
    shared: list[Any] = [1]
    shared.append(shared)
    counts = collections.defaultdict(list, {"a": [1]})
    values = [
        Point(1, 2),
        collections.OrderedDict(b=1, a=2),
        counts,
        collections.Counter("aab"),
        Settings("x"),
        shared,
        shared,
    ]
    function, args, kwargs = loaded(write(plain, *values, key={"n": None}))
    assert function is plain and kwargs == {"key": {"n": None}}
    assert list(args[:5]) == values[:5]
    assert [type(value) for value in args] == [type(value) for value in values]
    assert args[2]["missing"] == [] and args[5] is args[6] and args[5][1] is args[5]


def _cases() -> list[tuple[Any, tuple[Any, ...], dict[str, Any], str]]:
    lock = threading.Lock()
    inner = by_value("def f(): return g()", g=by_value("def f(): return lock", lock=lock))
    return [
        (plain, (1, lock), {}, r"argument 2 \(_thread\.lock\) cannot be pickled: TypeError"),
        (plain, ({"a": [1, {"deep": lock}]},), {}, r"argument 1 \(dict\) at \['a'\]\[1\]\['deep'\] \(_thread\.lock\)"),
        (plain, (), {"x": (1, lock)}, r"keyword argument 'x' \(tuple\) at \[1\] \(_thread\.lock\)"),
        (plain, (Settings("x", lock),), {}, r"argument 1 \(.*Settings\) at \.handle \(_thread\.lock\)"),
        (Trainer(lock).fit, (), {}, r"the function Trainer\.fit \(method\) at its .*Trainer\.handle \(_thread\.lock\)"),
        (by_value("def f(): return m", m=lock), (), {}, r"the function f .* at global variable 'm' \(_thread\.lock\)"),
        (by_value("def f(x=v): return x", v=lock), (), {}, r"the function f .* at default value 1 \(_thread\.lock\)"),
        (by_value("def f(*, x=lock): return x", lock=lock), (), {}, r"the function f .* at default value of 'x' \("),
        (by_value("def g(v):\n def f(): return v\n return f\nf=g(lock)", lock=lock), (), {},
         r"the function g\.<locals>\.f \(function\) at closure variable 'v' \(_thread\.lock\)"),
        (by_value("def f(): return [lambda: v for v in [1]], model", model=lock), (), {}, r"global variable 'model'"),
        (inner, (), {}, r"the function f \(function\) at global variable 'g' global variable 'lock' \("),
        (plain, ((value for value in [1]),), {}, r"argument 1 \(generator\)"),
    ]  # fmt: skip


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case[3])
def test_what_cannot_be_pickled_is_named(
    write: Write, case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    function, args, kwargs, message = case
    with pytest.raises(PackagingError, match=message):
        write(function, *args, **kwargs)
    assert list(scratch.iterdir()) == []


class Rude:
    def __reduce__(self) -> Any:
        raise KeyError("no")


def test_any_error_of_a_types_own_code_is_ours(write: Write) -> None:
    with pytest.raises(PackagingError, match=r"argument 1 \(.*Rude\) cannot be pickled: KeyError: 'no'"):
        write(plain, Rude())


@pytest.mark.parametrize(
    "values", [{"at": "the-secret"}, {"in": ["x", {"k": "is the-secret."}]}, {"bytes": b"the-secret"}]
)
def test_a_captured_value_in_an_argument_is_refused(write: Write, values: dict[str, Any]) -> None:
    with pytest.raises(
        PackagingError, match=r"captured variable KEY is in the pickled call \(argument 2 .*os\.environ"
    ) as caught:
        write(plain, 1, values, values={"KEY": "the-secret"})
    assert "the-secret" not in str(caught.value)


def test_a_handle_of_the_launcher_itself_is_named(write: Write) -> None:
    """It holds the job's key, and no worker has its module."""
    job = object.__new__(Job)
    for call in (lambda: write(plain, job), lambda: write(by_value("def f(): return job", job=job))):
        with pytest.raises(PackagingError, match=r"(argument 1|'job') \(launcher\.job\.Job\) cannot be"):
            call()
    with pytest.raises(PackagingError, match=r"global variable 'Job' \(type\) cannot be"):
        write(by_value("def f(x): return isinstance(x, Job)", Job=Job))


def test_a_function_that_calls_itself_and_others_through_the_decorator(write: Write) -> None:
    source = "@run\ndef f(n): return 1 if n == 0 else n * g(n - 1)\n@run\ndef g(n): return f(n)\n"
    remote = by_value(source, run=launcher.run)
    function = loaded(write(remote.__wrapped__))[0]
    assert isinstance(function.__globals__["f"], type(remote)) and function.__globals__["f"].__wrapped__ is function
    assert function.__globals__["g"].__wrapped__.__globals__["f"].__wrapped__ is function


def test_a_captured_value_as_a_key_is_not_shown(write: Write) -> None:
    with pytest.raises(PackagingError) as caught:
        write(plain, {"the-secret": 1}, values={"KEY": "the-secret"})
    assert "the-secret" not in str(caught.value)


def test_a_captured_value_in_a_global_variable_is_refused(write: Write) -> None:
    with pytest.raises(PackagingError, match=r"function f \(function\) at global variable 'token'"):
        write(by_value("def f(): return token", token="the-secret"), values={"KEY": "the-secret"})


class Wrapper:
    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)

    def __call__(self) -> Any:
        raise AssertionError("nothing is called while packing")

    def __reduce__(self) -> Any:
        raise AssertionError("the wrapper itself is not sent")


@pytest.fixture
def decorated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    (tmp_path / "decorated_module.py").write_text(
        "from tests.shipping.test_payload import Wrapper, LOCK\n"
        "import functools\n"
        "@Wrapper\n"
        "def once(): return LOCK\n"
        "@functools.lru_cache\n"
        "@Wrapper\n"
        "def twice(): return LOCK\n"
        "class C:\n"
        "    @Wrapper\n"
        "    def method(self): return LOCK\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    decorated_module = importlib.import_module("decorated_module")

    monkeypatch.setitem(sys.modules, "decorated_module", decorated_module)
    return decorated_module


def test_a_decorated_function_of_a_module_goes_by_reference(write: Write, decorated: types.ModuleType) -> None:
    """By value its module's globals would go along: here a lock, which cannot."""
    for function in (
        decorated.once.__wrapped__,
        decorated.twice.__wrapped__.__wrapped__,
        decorated.C.method.__wrapped__,
    ):
        assert loaded(write(function))[0] is function
    caller = by_value("def f(): return g()", g=decorated.once.__wrapped__)
    assert loaded(write(caller))[0].__globals__["g"] is decorated.once.__wrapped__


def test_the_needed_modules_are_told(cache: Cache, decorated: types.ModuleType) -> None:
    function = by_value("def f(): return g, P, m", g=decorated.once.__wrapped__, P=Point, m=collections)
    with contextlib.ExitStack() as files:
        _, modules = payload.write(function, (Settings("x"),), {}, Search({}, cache), files)
    assert {"decorated_module", __name__, "collections"} <= modules


def test_large_buffers_are_streamed(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickler hands over large bytes as they are; nothing of ours may collect them."""
    largest = 0
    real = Spool.write

    def watched(self: Spool, data: Any) -> int:
        nonlocal largest
        largest = max(largest, memoryview(data).nbytes)
        return real(self, data)

    monkeypatch.setattr(Spool, "write", watched)
    big, view, own = b"x" * 5_000_000, bytearray(b"y" * 3_000_000), bytearray(b"z" * 2_000_000)
    _, args, _ = loaded(write(plain, big, [1] * 300_000, pickle.PickleBuffer(view), own))
    assert args[0] == big and bytes(args[2]) == bytes(view) and args[3] == own
    assert largest == len(big)


def test_it_can_be_read_again_and_from_anywhere(write: Write) -> None:
    call = write(plain, b"z" * 300_000)
    with call.open() as reader:
        first = reader.read(1000)
        reader.seek(-10, 2)
        assert len(reader.read()) == 10
    with call.open() as reader:
        assert reader.read(1000) == first
        reader.seek(0)
        assert len(reader.read()) == call.blob.size == reader.tell()


def test_it_reads_back_with_plain_pickle_and_cloudpickle_installed(write: Write) -> None:
    function = by_value("def f(n): return 1 if n == 0 else n * f(n - 1)")
    assert loaded(write(function))[0](5) == 120
    assert cloudpickle.dumps(function)  # the fixture's function is one that plain pickle refuses
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(function)
