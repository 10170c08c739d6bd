from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import PackagingError
from launcher.shipping.requirements import checked, files_of, mask, option, parse_lock, refuse_credentials

HASH = " \\\n    --hash=sha256:" + "0" * 64


def test_a_lock_is_its_requirements_and_nothing_else() -> None:
    text = (
        "# a comment\n--index-url https://index.example/simple\n--find-links /somewhere\n"
        f"Zope.Interface==1.0 ; python_version >= '3.11'{HASH}\n    # via x\n\nclick==8.0{HASH}{HASH[2:]}\n"
    )
    pins = parse_lock(text)
    assert [(pin.name, pin.line) for pin in pins] == [
        ("zope-interface", "Zope.Interface==1.0 ; python_version >= '3.11'"), ("click", "click==8.0"),
    ]  # fmt: skip
    kept, notices = checked(pins, "x")
    assert kept == f"click==8.0{HASH}{HASH[2:]}\nZope.Interface==1.0 ; python_version >= '3.11'{HASH}\n"
    assert notices == []


@pytest.mark.parametrize("line", ["-e ./lib", "./lib", "/abs/lib", "lib @ file:///abs/lib", "-e file:///abs/lib"])
def test_a_local_package_is_left_out_and_told(line: str) -> None:
    kept, notices = checked(parse_lock(f"{line}\nclick==8.0{HASH}\n"), "requirements.txt")
    assert kept == f"click==8.0{HASH}\n"
    assert len(notices) == 1 and "lib is not installed on the worker" in notices[0]


def test_the_project_itself_is_left_out_without_a_word() -> None:
    assert checked(parse_lock(f"-e .\nclick==8.0{HASH}\n"), "x")[1] == []


@pytest.mark.parametrize(
    "line, message",
    [
        (f"./v/x-1.whl{HASH}", r"requirements\.txt: \./v/x-1\.whl is a file on this machine"),
        (f"x @ file:///v/x-1.tar.gz{HASH}", r"x-1\.tar\.gz is a file on this machine"),
        ("x @ git+https://host/x@abc", r"x @ git\+https://host/x@abc has no hash.*archive/<commit>\.zip"),
        ("x==1.0", r"x==1\.0 has no hash"),
    ],
)
def test_what_a_worker_could_not_install_is_refused(line: str, message: str) -> None:
    with pytest.raises(PackagingError, match=message):
        checked(parse_lock(line + "\n"), "requirements.txt")


def test_an_archive_by_url_is_fine_with_its_hash() -> None:
    lock = f"x @ https://host/x-1.zip{HASH}\n"
    assert checked(parse_lock(lock), "x")[0] == lock


@pytest.mark.parametrize(
    "text",
    [
        "x @ https://user:s3cret@host/x.whl", "--index-url https://user:s3cret@host/simple", "-f http://s3cret@host/",
        'url = "https://user:s3cret@host/simple"', "x @ git+https://s3cret@host/x", "git+ssh://git:s3cret@host/x",
        "https://${USER}:s3cret@host", "x @ https://user:a,s3cret'@host/x.whl", "https://user:s3@cret@host",
    ],
)  # fmt: skip
def test_a_url_with_a_password_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(
        PackagingError, match=r"req\.txt: the URL [a-z+]+://\*\*\*\*@host.* contains a password"
    ) as caught:
        refuse_credentials(f"click\n{text}\n", "req.txt")
    assert "cret" not in str(caught.value) + repr(caught.value)
    assert "cret" not in mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://host/x@1.0", "https://user:${PASSWORD}@host/simple", "https://${TOKEN}@host/", "git+ssh://git@host/x",
        "x @ https://host/a:b@c/d", "mail me@example.org", "https://host:8080/x",
    ],
)  # fmt: skip
def test_other_urls_are_not(text: str) -> None:
    refuse_credentials(text, "req.txt")


def test_included_files_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("-r sub/b.txt\n-c c.txt # why\n--requirement=d.txt\n-rd.txt\nx==1 -r\n")
    (tmp_path / "sub" / "b.txt").write_text("-r ../a.txt\n-r https://host/e.txt\n")
    (tmp_path / "c.txt").write_text("--constraint d.txt\n")
    (tmp_path / "d.txt").write_text("")
    assert {path.resolve().relative_to(tmp_path).as_posix() for path, _ in files_of(tmp_path / "a.txt")} == {
        "a.txt", "sub/b.txt", "c.txt", "d.txt",
    }  # fmt: skip


def test_a_missing_included_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("-r gone.txt\n")
    with pytest.raises(PackagingError, match=r"cannot read .*/gone\.txt"):
        list(files_of(tmp_path / "a.txt"))


def test_options_of_a_requirements_file() -> None:
    assert option("--index-url https://host/simple?a=b", "-i", "--index-url") == "https://host/simple?a=b"
    assert option("--extra-index-url=https://host", "--extra-index-url") == "https://host"
    assert option("--index-url https://host", "--extra-index-url") == option("jax==1.0", "--index-url") == ""


def test_a_password_that_only_the_lock_shows_is_refused() -> None:
    """A requirement that a setup.py puts together."""
    with pytest.raises(PackagingError, match="contains a password") as caught:
        checked(parse_lock("x @ git+https://u:s3cret@host/x\n"), "pyproject.toml")
    assert "s3cret" not in str(caught.value)
