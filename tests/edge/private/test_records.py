"""The record of a flow: its names are those of the data sets, and what its client chose is bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pyconnector.edge.access.identify import Identified
from pyconnector.edge.private.gateway.records import MAX_RECENT, MAX_TEXT, CloseReason, FlowRecord, Records
from pyconnector.logpush.datasets import DATASETS
from tests.support.peers.gateway import SECRET, token

NOW = 1_800_000_000.25


def record(**more: Any) -> FlowRecord:
    return FlowRecord(onramp="socks5", protocol="tcp", source=("192.0.2.1", 7), begun=NOW, **more)


def test_every_field_belongs_to_a_data_set() -> None:
    known = record(identified=Identified(token=token())).as_json("ams", NOW)
    assert set(known) <= set(DATASETS["audit_records"].fields)
    session = DATASETS["zero_trust_network_sessions"].view(known)
    assert session is not None
    assert set(DATASETS["zero_trust_network_sessions"].fields) <= set(session) | {"Email"}
    assert SECRET not in json.dumps(known)


def test_what_a_client_chose_is_bounded() -> None:
    long = "x" * 100_000
    value = record(wanted=(long, 1), claimed=long, virtual_network=long, detail=long).as_json("ams", NOW)
    for name in ("RequestedHost", "ClaimedUser", "VirtualNetworkName", "Detail"):
        assert len(value[name]) == MAX_TEXT


def test_a_refusal_says_why_and_a_flow_how_long_it_took() -> None:
    refused = record(verdict="invalid_credentials", reason=CloseReason.REFUSED).as_json("ams", NOW + 1.5)
    assert (refused["Action"], refused["Allowed"], refused["Reason"]) == ("block", False, "invalid_credentials")
    assert (refused["ActorType"], refused["DurationMs"]) == ("anonymous", 1500.0)
    assert (refused["SessionStartTime"], refused["SessionEndTime"]) == (
        "2027-01-15T08:00:00.250Z",
        "2027-01-15T08:00:01.750Z",
    )


def test_the_last_records_are_kept_and_silent_ones_are_none() -> None:
    records = Records("ams", lambda: NOW)
    for _ in range(MAX_RECENT + 10):
        records.write(record())
    records.write(replace(record(), silent=True, detail="silent"))
    assert len(records.recent) == MAX_RECENT
    assert records.recent[-1]["Detail"] == ""
    assert not records.refuses
