"""What holds for the project as a whole: its files, its layers, its pinned dependencies."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "launcher"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_name(source: Path) -> str:
    parts = source.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: Path) -> Iterator[str]:
    """The module of every import statement; `from a import b` counts as a.b where b is a module of ours."""
    here = module_name(source).split(".")
    package = here if source.name == "__init__.py" else here[:-1]
    for node in ast.walk(ast.parse(source.read_bytes(), source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = ROOT / module.replace(".", "/") / alias.name
                is_module = inner.is_dir() or inner.with_suffix(".py").exists()
                yield f"{module}.{alias.name}" if is_module else module


def offences(allowed: dict[str, set[str]]) -> list[str]:
    return [f"{place} imports {name}" for place, names in allowed.items() for name in sorted(names)]


# --- layers -------------------------------------------------------------------------------------------------

# What each part of launcher/ may import of launcher/. Arrows point down only: see docs/architecture.md.
# A module directly in launcher/ that is not named here is on top: everything but cli and sim.
CONFIG = {"config", "private_files", "profile_file", "simulator_process"}
FOUNDATION = {"accelerators", "errors", "keys", "setting_types", "settings", *CONFIG}
MAY_IMPORT = {
    "records": {"records"},
    "agent": {"agent", "records"},
    "sim": {"sim", "records"},
    "accelerators": {"errors"},
    "errors": set[str](),
    **{name: {"errors", "records", "cloud", "setting_types", *CONFIG} for name in CONFIG},
    "setting_types": {"errors", "records"},
    "settings": {"accelerators", "errors", "setting_types"},
    "keys": {"errors", "records", *CONFIG},
    "worker_context": {"records"},
    "cloud": FOUNDATION | {"cloud", "records"},
    "fleet": FOUNDATION | {"fleet", "cloud", "agent", "records"},
    "shipping": FOUNDATION | {"shipping", "cloud", "agent", "records"},
    "functions": {"functions", "fleet", "records", "config", "errors"},
}
# Which part alone may import each of these: one seam per external system.
ONLY_IN = {
    "google": "cloud",
    "grpc": "cloud",
    "paramiko": "cloud",
    "python_terraform": "cloud",
    "asyncssh": "sim",
    "httptools": "sim",
    "starlette": "sim",
    "uvicorn": "sim",
    "click": "cli",
}


def part(name: str) -> str:
    """launcher.cloud.tpu -> cloud; launcher itself -> its empty part."""
    return ([*name.split("."), ""])[1]


def test_arrows_point_down_only() -> None:
    wrong: dict[str, set[str]] = {}
    for source in SOURCES:
        place = part(module_name(source))
        for name in imports(source):
            if name.split(".")[0] != "launcher":
                continue
            target = part(name)
            if place == "cli" or target == place:
                continue
            allowed = target in MAY_IMPORT[place] if place in MAY_IMPORT else target not in ("cli", "sim")
            if not allowed:
                wrong.setdefault(str(source.relative_to(ROOT)), set()).add(name)
    assert offences(wrong) == []


def test_each_external_system_has_one_seam() -> None:
    wrong: dict[str, set[str]] = {}
    for source in SOURCES:
        for name in imports(source):
            seam = ONLY_IN.get(name.split(".")[0])
            if seam and part(module_name(source)) != seam:
                wrong.setdefault(str(source.relative_to(ROOT)), set()).add(name)
    assert offences(wrong) == []


# Modules that Python 3.10 does not have yet.
STDLIB_3_10 = sys.stdlib_module_names - {"tomllib"}
# The runner's own process has the job's environment, which always holds these.
RUNNER_NEEDS = {"values.py": ("cloudpickle",)}
WORKER_SOURCES = [source for source in SOURCES if part(module_name(source)) in ("agent", "records")]


def test_what_travels_to_a_worker_is_python_3_10_and_standard_library_only() -> None:
    assert WORKER_SOURCES
    wrong: dict[str, set[str]] = {}
    for source in WORKER_SOURCES:
        ast.parse(source.read_bytes(), source, feature_version=(3, 10))
        allowed = {*STDLIB_3_10, "launcher", *RUNNER_NEEDS.get(source.name, ())}
        foreign = {each for each in imports(source) if each.split(".")[0] not in allowed}
        if foreign:
            wrong[str(source.relative_to(ROOT))] = foreign
    assert offences(wrong) == []


def test_importing_the_package_needs_nothing_but_the_standard_library() -> None:
    # A worker has the package without its dependencies; -S leaves site-packages out.
    subprocess.run([sys.executable, "-S", "-c", "import launcher, launcher.errors"], cwd=ROOT, check=True)


def test_every_exported_name_is_there() -> None:
    launcher = importlib.import_module("launcher")
    assert [name for name in launcher.__all__ if not hasattr(launcher, name)] == []
    public = {"ConfigError", "Job", "JobStatus", "LauncherError", "attach", "context", "jobs", "run"}
    assert public <= set(launcher.__all__)


# --- dependencies -------------------------------------------------------------------------------------------


def requirement_name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")  # type: ignore[index]


def test_every_foreign_import_is_a_declared_dependency() -> None:
    project = PYPROJECT["project"]
    base = {requirement_name(each) for each in project["dependencies"]}
    simulator = base | {requirement_name(each) for each in project["optional-dependencies"]["sim"]}
    distributions = importlib.metadata.packages_distributions()
    wrong: dict[str, set[str]] = {}
    for source in SOURCES:
        declared = simulator if part(module_name(source)) == "sim" else base
        for name in imports(source):
            top = name.split(".")[0]
            if top == "launcher" or top in sys.stdlib_module_names:
                continue
            if not declared & {requirement_name(each) for each in distributions.get(top, [])}:
                wrong.setdefault(str(source.relative_to(ROOT)), set()).add(name)
    assert offences(wrong) == []


def pins(requirements: Path) -> dict[str, str]:
    """name -> version; fails on a line that pins nothing or has no hash."""
    found = {}
    text = requirements.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.match(r"([a-z0-9-]+)==([^\s;]+)(\s*;[^#]*?)?((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*$", line)
        assert match, f"{requirements.name}: not pinned with hashes: {line[:80]}"
        found[match[1]] = match[2]
    return found


@pytest.mark.parametrize("requirements", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_are_pinned_with_hashes_and_name_no_index(requirements: Path) -> None:
    assert pins(requirements)


def test_the_development_set_holds_every_direct_dependency() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    direct = {
        requirement_name(each) for each in [*PYPROJECT["project"]["dependencies"], *extras["sim"], *extras["dev"]]
    }
    direct.discard("tpu-launcher")
    assert direct <= set(pins(ROOT / "requirements/dev.txt"))


def test_the_bootstrapped_uv_is_the_pinned_one() -> None:
    assert pins(ROOT / "requirements/bootstrap.txt")["uv"] == pins(ROOT / "requirements/dev.txt")["uv"]


# --- files --------------------------------------------------------------------------------------------------

# Written in parts, so that this file does not hold what it looks for.
BELONGS_TO_ONE_MACHINE = re.compile(
    "|".join(
        [
            "pypi" + r"\.(org|python\.org)",
            "python" + r"hosted\.org",
            *(re.escape(f"{folder}/") for folder in {ROOT, Path.home()} - {Path("/")}),
            r"/home/" + r"(?!user|me|you|\{|\$|<)\w+/",
            r"/Users/" + r"(?!user|me|you|\{|\$|<)\w+/",
        ]
    )
)


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    files = tracked_files()
    assert ROOT / "pyproject.toml" in files
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        for match in BELONGS_TO_ONE_MACHINE.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in tracked_files()
        if path.suffix == ".md"
        for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert broken == []


def test_every_runbook_is_in_the_list() -> None:
    listed = (ROOT / "docs/platform.md").read_text(encoding="utf-8")
    runbooks = [path.name for path in (ROOT / "docs/runbooks").glob("*.md")]
    assert runbooks
    assert [name for name in runbooks if f"(runbooks/{name})" not in listed] == []


def test_the_license_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PYPROJECT["project"]["license"] == "Apache-2.0"


def test_the_changelog_starts_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == PYPROJECT["project"]["version"]


def test_types_are_shipped() -> None:
    assert (PACKAGE / "py.typed").exists()


# --- make and continuous integration ------------------------------------------------------------------------


def check_tools(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs .ci/check-tools where only `path` has commands."""
    return subprocess.run(
        ["/bin/sh", str(ROOT / ".ci/check-tools"), *arguments],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def command(path: Path, name: str, script: str) -> None:
    path.mkdir(exist_ok=True)
    (path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (path / name).chmod(0o755)


THIS_PYTHON = f'exec "{sys.executable}" "$@"'
PYTHON_WITHOUT_VENV = f"""case "$2" in *ensurepip*) exit 1 ;; esac
{THIS_PYTHON}"""


def test_all_missing_tools_are_named_at_once_with_the_command_that_installs_them(tmp_path: Path) -> None:
    command(tmp_path / "bin", "apt-get", "exit 1")
    command(tmp_path / "bin", "id", "echo 1000")
    done = check_tools(tmp_path / "bin", "python", "git", "ssh", "ssh-keygen")
    assert done.returncode == 1
    assert done.stdout == ""
    for missing in ("Python 3.11", "git", "ssh", "ssh-keygen"):
        assert re.search(rf"^  {re.escape(missing)}", done.stderr, re.MULTILINE)
    assert "sudo apt-get install --yes python3-venv git openssh-client\n" in done.stderr


def test_missing_packages_are_listed_for_continuous_integration(tmp_path: Path) -> None:
    command(tmp_path / "bin", "python3", PYTHON_WITHOUT_VENV)
    command(tmp_path / "bin", "git", "exit 0")
    done = check_tools(tmp_path / "bin", "--packages", "python", "git", "scp")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert (done.returncode, done.stdout) == (0, f"python{version}-venv openssh-client\n")


@pytest.mark.parametrize(
    "answer", ["exit 127", "echo Terraform v1.10.5", "echo Terraform v0.15.0", "echo Terraform v1.9.0"]
)
def test_terraform_is_no_debian_package_so_the_message_says_where_it_is(tmp_path: Path, answer: str) -> None:
    command(tmp_path / "bin", "apt-get", "exit 1")
    command(tmp_path / "bin", "terraform", answer)
    done = check_tools(tmp_path / "bin", "terraform")
    assert done.returncode == 1
    assert re.search(r"^  terraform 1\.11 or newer", done.stderr, re.MULTILINE)
    assert "https://developer.hashicorp.com/terraform/install" in done.stderr
    assert "apt-get install" not in done.stderr
    assert check_tools(tmp_path / "bin", "--packages", "terraform").stdout.split() == []


@pytest.mark.parametrize("version", ["1.11.0", "1.20.1", "2.0.0"])
def test_a_terraform_that_fits_is_taken(tmp_path: Path, version: str) -> None:
    command(tmp_path / "bin", "terraform", f"echo Terraform v{version}")
    assert check_tools(tmp_path / "bin", "terraform").returncode == 0


def test_a_python_that_answers_127_or_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    command(tmp_path / "bin", "python3", "exit 1")  # too old
    command(tmp_path / "bin", "python3.11", "exit 127")  # a shim of a version that is not there
    command(tmp_path / "bin", "python3.13", THIS_PYTHON)
    done = check_tools(tmp_path / "bin", "python")
    assert (done.returncode, done.stdout, done.stderr) == (0, "python3.13\n", "")


def test_a_chosen_python_is_used_or_refused(tmp_path: Path) -> None:
    chosen = {"PATH": str(tmp_path), "PYTHON": str(tmp_path / "bin/mine")}
    script = [str(ROOT / ".ci/check-tools"), "python"]
    command(tmp_path / "bin", "mine", THIS_PYTHON)
    done = subprocess.run(["/bin/sh", *script], env=chosen, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/bin/mine\n"
    command(tmp_path / "bin", "mine", "exit 1")
    refused = subprocess.run(["/bin/sh", *script], env=chosen, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"PYTHON={tmp_path}/bin/mine" in refused.stderr
