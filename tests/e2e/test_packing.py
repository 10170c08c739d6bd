"""What a call takes along, where only the whole path proves it. Each call costs seconds: many facts in each."""

from __future__ import annotations

import textwrap

from tests.e2e.conftest import User


def test_a_project_arrives_as_it_is_here(user: User) -> None:
    user.write("src/pkg/__init__.py", "")
    user.write(
        "src/pkg/steps.py",
        """
        import threading, launcher
        LOCK = threading.Lock()  # by value a function here could not be sent

        @launcher.run
        def double(x):
            with LOCK:
                return 2 * x
        """,
    )
    user.write("a/__init__.py", "")
    user.write("a/b.py", "def f(x): return x + 1\n")
    user.write("json.py", "raise RuntimeError('not the standard one')\n")
    user.write("jobs/sibling.py", "NAME = 'sibling'\n")
    user.write("tools/run.sh", "#!/bin/sh\necho ran\n").chmod(0o755)
    (user.folder / "tools" / "link").symlink_to("run.sh")
    (user.folder / "empty").mkdir()
    packages = user.folder.parent / "packages"  # as an editable install leaves them
    packages.mkdir()
    (packages / "pkg.pth").write_text(f"{user.folder / 'src'}\n")
    ran = user.script(
        f"""
        import collections, dataclasses, os, site, subprocess, sys, typing
        site.addsitedir({str(packages)!r})
        sys.path.append({str(user.folder)!r})
        import a.b, sibling
        from pkg.steps import double

        class Point(typing.NamedTuple):
            x: int
            y: int

        @dataclasses.dataclass
        class Options:
            name: str

        @launcher.run
        def f(point, ordered, default, counter, options, loop, *, alias):
            import json
            return json.loads(json.dumps([
                type(point) is Point and point.y, type(ordered) is collections.OrderedDict and list(ordered),
                default["new"], counter.most_common(1), options == Options("x"), loop[0] is loop is alias,
                a.b.f(1), sibling.NAME, double(2),
                subprocess.check_output(["tools/link"], text=True), os.readlink("tools/link"), os.listdir("empty"),
            ]))

        loop = []
        loop.append(loop)
        ordered, default = collections.OrderedDict(b=1, a=2), collections.defaultdict(list)
        there = f(Point(1, 2), ordered, default, collections.Counter("aab"), Options("x"), loop, alias=loop)
        report([there, double(21)])
        """,
        name="jobs/train.py",
    )
    there, doubled = ran.value
    assert there == [2, ["b", "a"], [], [["a", 2]], True, True, 2, "sibling", 4, "ran\n", "run.sh", []]
    assert doubled == 42


def test_what_is_typed_into_a_prompt_or_a_notebook_uses_the_current_folder(user: User) -> None:
    user.write("helper.py", "def double(x): return 2 * x\n")
    user.write("data.txt", "here")
    cell = "import helper\ndef g(x): return helper.double(x)\n"
    code = f"""
        import json, launcher
        exec(compile({cell!r}, "<ipython-input-1>", "exec"), globals())

        @launcher.run
        def f(x):
            return [g(x), open("data.txt").read()]

        print("RESULT", json.dumps(f(21)))
    """
    assert user.finish(user.start("-c", textwrap.dedent(code))).value == [42, "here"]


def test_a_script_without_a_project_goes_alone_and_says_so(user: User) -> None:
    script = user.prepare(
        """
        import os

        @launcher.run
        def f():
            return sorted(os.listdir("."))

        report(f())
        """,
        name="../alone/script.py",
    )
    user.write("../alone/neighbour.txt", "stays here")
    ran = user.finish(user.start(str(script)))
    assert ran.value == ["script.py"]
    assert "only script.py is sent: no project around it" in ran.err
