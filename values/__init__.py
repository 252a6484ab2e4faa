"""Value classes for every room: `dataclasses`, but the methods of a class are made when it is used, not when it loads.

The library writes and compiles five methods for each class while its module loads: a quarter of the time from the start
of the command line to the first registration, mostly for classes that a run never makes, or makes once
(docs/performance.md). Type checkers see the library's own names, and its functions take these classes too.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    from values.late import dataclass, replace

__all__ = ["dataclass", "field", "replace"]
