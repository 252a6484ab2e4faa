"""A reload by signal: the file is read beside the event loop, where requests go on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from pyconnector.connector.cli import service
from pyconnector.connector.config.load import load_config
from tests.connector.configs import RULES, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from pyconnector import Connector, ConnectorConfig


async def test_a_config_is_read_beside_the_event_loop(tmp_path: Path) -> None:
    path = str(write_config(tmp_path, RULES))
    readers: list[threading.Thread] = []
    applied: list[ConnectorConfig] = []

    def read() -> ConnectorConfig:
        readers.append(threading.current_thread())
        return load_config(path)

    class Running:
        async def reload(self, config: ConnectorConfig) -> None:
            applied.append(config)

    await service._reload(cast("Connector", Running()), read)
    assert len(applied) == 1
    assert threading.main_thread() not in readers
