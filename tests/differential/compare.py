"""Results of a genuine cloudflared and of ours, made comparable: the documented normalisation, and nothing else."""

from __future__ import annotations

import copy
import re
from typing import Any

from tests.differential.case import Case, WireCase

#: What one case came to, as `tests.differential.stage` gives it.
Result = dict[str, Any]

_MADE_UP = ["Accept-Encoding", "gzip"]
_BROKEN = {"broken": True}


def made_comparable(case: Case | WireCase, genuine: Result) -> Result:
    """Take out what a genuine connector adds by itself: the wish for gzip, where the visitor voiced none."""
    if isinstance(case, Case):
        own_wish = re.search(rb"^accept-encoding:[ \t]*[!-~]", case.sent, re.IGNORECASE | re.MULTILINE) is not None
    else:
        own_wish = any(key.lower().endswith(b":accept-encoding") for key, _ in case.metadata)
    result = copy.deepcopy(genuine)
    if isinstance(case, WireCase) and case.races:
        result["got"] = {"error": True}  # or the answer to the beginning of it, if that was faster
    for connection in result["origin"]:
        for request in connection["requests"]:
            if not own_wish and isinstance(request["fields"], list) and _MADE_UP in request["fields"]:
                request["fields"].remove(_MADE_UP)
    return result


def settled(case: Case | WireCase, result: Result) -> Result:
    """Leave out what depends on who was faster."""
    result = copy.deepcopy(result)
    if isinstance(case, WireCase) and case.races:
        result["origin"] = []
    if case.origin.breaks and (result["got"].keys() & {"broken", "reset", "error", "page"}):
        result["got"] = _BROKEN
    return result
