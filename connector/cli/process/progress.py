"""A last line on a terminal that says what goes on, below the lines of the log. Nowhere else is there one."""

from __future__ import annotations

import contextlib
import io
import shutil
from typing import IO

_ERASE = "\r\x1b[K"


class ProgressLine(io.TextIOBase):
    """A stream for the log that keeps one more line at the bottom of the terminal `stream`."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream
        self._line = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        """That of the terminal."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """There would be none of these elsewhere."""
        return True

    def fileno(self) -> int:
        """Refuse: whoever writes around this would write into the line."""
        raise io.UnsupportedOperation("fileno")

    def write(self, text: str) -> int:
        """Write whole lines above the one at the bottom. Raises OSError where the terminal is gone."""
        self._stream.write(f"{_ERASE if self._line else ''}{text}{self._line}")
        return len(text)

    def flush(self) -> None:
        """Let the terminal have it. Raises OSError where that is gone."""
        self._stream.flush()

    def show(self, text: str) -> None:
        """Put `text` at the bottom; "" takes the line away. A terminal that is gone is nobody's loss."""
        width = shutil.get_terminal_size().columns - 1
        text = text[: max(width, 0)]
        if text == self._line:
            return
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{_ERASE if self._line else ''}{text}")
            self._stream.flush()
        self._line = text
