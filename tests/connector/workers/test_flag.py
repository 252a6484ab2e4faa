from __future__ import annotations

from pathlib import Path

import pytest

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config import load_config
from pyconnector.connector.config import settings as settings
from tests.connector.configs import RULES, write_config


@pytest.mark.parametrize(
    ("given", "workers"), [("2", 2), ("auto", 3), ("9", 4), (1, 1)], ids=["number", "auto", "too many", "one"]
)
def test_workers_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: object, workers: int) -> None:
    monkeypatch.setattr(settings, "cores", lambda: 3)
    config = load_config(str(write_config(tmp_path, RULES)), {"workers": given})
    assert config.workers == workers
    assert any("9 workers share 4 connections" in str(problem) for problem in config.warnings) == (given == "9")


def test_auto_needs_no_more_workers_than_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "cores", lambda: 64)
    path = str(write_config(tmp_path, RULES + "workers: auto\nha-connections: 2\n"))
    assert load_config(path).workers == 2


@pytest.mark.parametrize("given", ["0", "-1", "two", "257"])
def test_other_counts_are_errors(tmp_path: Path, given: str) -> None:
    with pytest.raises(ConfigError, match="--workers"):
        load_config(str(write_config(tmp_path, RULES)), {"workers": given})


def test_systems_without_sockets_for_other_processes_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "can_have_workers", lambda: False)
    path = str(write_config(tmp_path, RULES))
    assert load_config(path, {"workers": "auto"}).workers == 1
    with pytest.raises(ConfigError, match="cannot hand sockets"):
        load_config(path, {"workers": "2"})
