"""`service install [TOKEN]` and `service uninstall` (reference/cli.md 7), for systemd, OpenRC and launchd.

The token goes into a file for root alone, and the unit names that file. What was written is removed again where a step
fails. Starting is not waited for: a machine without a network would hang there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.cli.install.units import LABEL, NAME, Program, launchd_plist, openrc_script, systemd_unit
from pyconnector.connector.config.credentials import CredentialsError, from_token
from pyconnector.connector.config.load import find_config, load_config
from pyconnector.connector.config.problems import Problem

#: Seconds for one command of the service manager.
TIMEOUT = 60.0
DIRECTORY_MODE = 0o755
SECRET_MODE = 0o600
UNIT_MODE = 0o644
SCRIPT_MODE = 0o755

#: Runs one command and raises StartFailed where that fails.
Runner = Callable[[Sequence[str]], None]


def run_command(command: Sequence[str]) -> None:
    """Run one command of the service manager.

    Raises:
        StartFailed: it is not there, fails, or takes too long.
    """
    path = shutil.which(command[0])
    if path is None:
        raise StartFailed(f"{command[0]} is not installed")
    try:
        done = subprocess.run(
            [path, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartFailed(f"{' '.join(command)} failed: {error}") from error
    if done.returncode:
        raise StartFailed(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[:300]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where things are; tests put all of it below a folder of their own."""

    root: Path = Path("/")
    platform: str = sys.platform
    run: Runner = run_command
    program: Sequence[str] = field(default_factory=lambda: own_program())
    home: Path = field(default_factory=Path.home)

    @property
    def kind(self) -> str:
        """systemd, openrc or launchd.

        Raises:
            StartFailed: it is none of these.
        """
        if self.platform == "darwin":
            return "launchd"
        if (self.root / "run/systemd/system").is_dir():
            return "systemd"
        if any((self.root / folder / "openrc-run").exists() for folder in ("sbin", "usr/sbin", "usr/bin")):
            return "openrc"
        if self.platform == "win32":
            raise StartFailed(
                "services of Windows are not supported: have a service wrapper or the Task Scheduler start it"
            )
        if (self.root / "etc/init.d").is_dir():
            raise StartFailed("SysV init is not supported: have a script in /etc/init.d start `pyconnector tunnel run`")
        raise StartFailed("neither systemd nor OpenRC nor launchd runs here: see docs/deploy.md for a unit to adapt")

    @property
    def unit(self) -> Path:
        """The file that makes it a service."""
        if self.kind == "launchd":
            system = self.root == Path("/") and os.geteuid() == 0
            folder = self.root / "Library/LaunchDaemons" if system else self.home / "Library/LaunchAgents"
            return folder / f"{LABEL}.plist"
        return self.root / (
            "etc/systemd/system/pyconnector.service" if self.kind == "systemd" else f"etc/init.d/{NAME}"
        )

    @property
    def folder(self) -> Path:
        """Where token and config are kept."""
        if self.kind == "launchd":
            return self.home / "Library/Application Support" / LABEL
        return self.root / "etc/pyconnector"


def own_program() -> list[str]:
    """How this program was started: its script, or the interpreter with it as a module."""
    script = Path(sys.argv[0])
    if script.name in ("pyconnector", "cloudflared") and script.exists():
        return [str(script.absolute())]
    return [sys.executable, "-m", "pyconnector"]


def install(token: str | None, config: str | None, machine: Machine | None = None) -> int:
    """Make this machine start a connector; return the exit code.

    Raises:
        ConfigError: the token or the config cannot be used.
        StartFailed: a service is there already, or a step failed; nothing of it is left.
    """
    machine = machine or Machine()
    unit = machine.unit
    if unit.exists():
        raise StartFailed(f"the service is already installed at {unit}; `service uninstall` removes it")
    written: list[Path] = []
    try:
        arguments = _with_token(machine, token, written) if token else _with_config(machine, config, written)
        _write(unit, _unit_text(machine, arguments), SCRIPT_MODE if machine.kind == "openrc" else UNIT_MODE, written)
        for command in _start_commands(machine):
            machine.run(command)
    except BaseException as error:
        _undo(machine, unit, written)
        if isinstance(error, OSError):
            reason = (error.strerror or str(error)).lower()
            raise StartFailed(f"cannot write {error.filename}: {reason}") from error
        raise
    click.echo(f"Installed and started: {unit}")
    return CLEAN


def uninstall(machine: Machine | None = None) -> int:
    """Stop the service and remove it with its token; a config stays. Return the exit code.

    Raises:
        StartFailed: it is not installed, or cannot be removed.
    """
    machine = machine or Machine()
    unit = machine.unit
    if not unit.exists():
        raise StartFailed(f"no service is installed at {unit}")
    for command in _stop_commands(machine):
        machine.run(command)
    try:
        unit.unlink()
        (machine.folder / "token").unlink(missing_ok=True)
    except OSError as error:
        raise StartFailed(f"cannot remove {error.filename}: {(error.strerror or str(error)).lower()}") from error
    if machine.kind == "systemd":
        machine.run(("systemctl", "daemon-reload"))
    click.echo(f"Removed: {unit}")
    return CLEAN


def _with_token(machine: Machine, token: str, written: list[Path]) -> list[str]:
    try:
        from_token(token)
    except CredentialsError as error:
        raise ConfigError([Problem(message=str(error))]) from None
    path = machine.folder / "token"
    _make_folder(machine.folder)
    _write(path, token + "\n", SECRET_MODE, written)
    return ["tunnel", "run", "--token-file", _seen(machine, path)]


def _with_config(machine: Machine, config: str | None, written: list[Path]) -> list[str]:
    config = config or find_config()
    if config is None:
        raise ConfigError([Problem(message="give a tunnel token, or a config file with --config")])
    load_config(config)  # with its credentials: a service that cannot start is of no use
    path = machine.folder / "config.yml"
    text = Path(config).expanduser().read_text(encoding="utf-8")
    _make_folder(machine.folder)
    if not path.exists():
        _write(path, text, SECRET_MODE, written)
    elif path.read_text(encoding="utf-8") != text:
        raise StartFailed(f"another config is there already: {path}")
    return ["--config", _seen(machine, path), "tunnel", "run"]


def _seen(machine: Machine, path: Path) -> str:
    return f"/{path.relative_to(machine.root)}" if machine.kind != "launchd" else str(path)


def _unit_text(machine: Machine, arguments: Sequence[str]) -> str:
    path, *before = machine.program
    program = Program(path=path, arguments=[*before, *arguments])
    if machine.kind == "systemd":
        return systemd_unit(program)
    if machine.kind == "openrc":
        return openrc_script(program)
    return launchd_plist(program, str(machine.home / "Library/Logs"))


def _start_commands(machine: Machine) -> list[tuple[str, ...]]:
    if machine.kind == "systemd":
        return [
            ("systemctl", "daemon-reload"),
            ("systemctl", "enable", NAME),
            ("systemctl", "start", "--no-block", NAME),
        ]
    if machine.kind == "openrc":
        return [("rc-update", "add", NAME, "default"), ("rc-service", NAME, "start")]
    return [("launchctl", "load", "-w", str(machine.unit))]


def _stop_commands(machine: Machine) -> list[tuple[str, ...]]:
    if machine.kind == "systemd":
        return [("systemctl", "disable", "--now", NAME)]
    if machine.kind == "openrc":
        return [("rc-service", NAME, "stop"), ("rc-update", "del", NAME, "default")]
    return [("launchctl", "unload", "-w", str(machine.unit))]


def _make_folder(path: Path) -> None:
    path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)


def _write(path: Path, text: str, mode: int, written: list[Path]) -> None:
    """Write a new file that has its permissions before it has its contents."""
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    written.append(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    path.chmod(mode)


def _undo(machine: Machine, unit: Path, written: Sequence[Path]) -> None:
    """Leave nothing of an installation that failed."""
    if unit in written:
        for command in _stop_commands(machine):
            with contextlib.suppress(StartFailed):
                machine.run(command)
    for path in written:
        with contextlib.suppress(OSError):
            path.unlink()
