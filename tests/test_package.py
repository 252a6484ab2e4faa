"""What is installed is one package, `pyconnector`, whatever modules a program has beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "protocol", "web", "identity", "ingress", "transport", "origins", "connector", "edge", "agent", "logpush",
    "control",
)  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built offline with the setuptools of the `dev` extra."""
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"  # a build leaves folders beside what it builds
    not_ours = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "docs", "bench")
    shutil.copytree(ROOT, source, symlinks=True, ignore=not_ours)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(out), str(source)], check=True, timeout=100, capture_output=True)
    (found,) = out.glob("*.whl")
    return found


def test_wheel_holds_one_top_level_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"pyconnector"}
    assert "pyconnector/py.typed" in names
    assert "pyconnector/protocol/capnp_format/schema/tunnel.capnp" in names
    assert {f"pyconnector/{room}/__init__.py" for room in ROOMS} <= set(names)


def test_program_with_modules_of_the_same_names_works(wheel: Path, tmp_path: Path) -> None:
    installed, program = tmp_path / "installed", tmp_path / "program"
    zipfile.ZipFile(wheel).extractall(installed)
    (program / "connector").mkdir(parents=True)
    (program / "connector" / "__init__.py").write_text("MINE = True\n")
    for name in {"values", *ROOMS} - {"connector"}:
        (program / f"{name}.py").write_text("MINE = True\n")
    (program / "main.py").write_text(
        "import sys\n"
        f"sys.path.append({str(installed)!r})\n"
        "import connector, protocol, values, edge\n"
        "assert connector.MINE and protocol.MINE and values.MINE and edge.MINE\n"
        "import pyconnector\n"
        "for name in pyconnector.__all__:\n"
        "    getattr(pyconnector, name)\n"
        "assert pyconnector.__file__.startswith(sys.path[-1]), pyconnector.__file__\n"
    )
    # -S and -I would hide the libraries too; an own PYTHONPATH keeps this checkout's editable install out of the way.
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    main = str(program / "main.py")
    code = f"import runpy, sys; sys.path[:0] = [{str(program)!r}, *{libraries!r}]; runpy.run_path({main!r})"
    # Elsewhere than in this checkout, whose folders have the same names.
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
