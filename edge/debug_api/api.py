"""What the control API can be asked: see, kill, refuse, disturb, configure. docs/edge.md lists it with examples."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pyconnector.edge.connectors.configuration import push_to_tunnel
from pyconnector.edge.faults.refusals import MAX_SCRIPTED
from pyconnector.edge.faults.relay import Faults
from pyconnector.edge.settings import SettingsError
from pyconnector.edge.visitors.http1.request_parser import BadRequest
from pyconnector.protocol.rpc.registration import Refusal

if TYPE_CHECKING:
    from pyconnector.edge.audit.log import AuditLog
    from pyconnector.edge.connectors.registry import Connectors
    from pyconnector.edge.connectors.tunnels import Tunnel, Tunnels
    from pyconnector.edge.directory.follower import Follower
    from pyconnector.edge.faults.refusals import Refusals
    from pyconnector.edge.faults.relay import FaultRelay

_MAX_CAUSE = 1000
_MAX_RETRY_AFTER = 86_400.0


class ControlApi:
    """Answers requests of `edge.debug_api.http`."""

    def __init__(
        self,
        *,
        tunnels: Tunnels,
        connectors: Connectors,
        refusals: Refusals,
        relay: FaultRelay | None,
        follower: Follower | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self._tunnels = tunnels
        self._connectors = connectors
        self._refusals = refusals
        self._relay = relay
        self._follower = follower
        self._audit = audit

    async def handle(self, method: str, path: str, body: Any) -> tuple[int, object]:
        """Return status and JSON for one request. Cancel abandons a push.

        Raises:
            BadRequest: there is no such thing, or it cannot be asked like this.
        """
        match [method, *path.strip("/").split("/")]:
            case ["GET", "healthz" | "tunnels" | "directory" | "audit" | "connections" as name]:
                return 200, self._read(name)
            case ["POST", "tunnels", tunnel_id, "configuration"]:
                return await self._push(tunnel_id, body)
            case ["POST", "connections", connection_id, "kill"]:
                return self._kill(connection_id)
            case ["POST", "refusals"]:
                return self._refuse(body)
            case ["GET", "refusals"]:
                return 200, {"waiting": len(self._refusals)}
            case ["DELETE", "refusals"]:
                return 200, {"removed": self._refusals.clear()}
            case [_, "faults"]:
                return self._faults(method, body)
            case [_, "healthz" | "directory" | "audit" | "tunnels" | "connections" | "refusals"]:
                raise BadRequest("That method is not for this path.", 405)
        raise BadRequest("There is nothing of that name here; docs/edge.md says what there is.", 404)

    def _read(self, name: str) -> dict[str, object]:
        match name:
            case "healthz":
                return {"status": "ok"}
            case "tunnels":
                return {"tunnels": [self._describe(tunnel) for tunnel in self._tunnels.all()]}
            case "directory":
                return {"directory": None if self._follower is None else self._follower.describe()}
            case "audit":
                return {"audit": None if self._audit is None else self._audit.describe()}
        return {"connections": [connection.describe() for connection in self._connectors.all()]}

    def _describe(self, tunnel: Tunnel) -> dict[str, object]:
        return {
            "id": str(tunnel.tunnel_id),
            "account_tag": tunnel.account_tag,
            "hostnames": self._tunnels.hostnames_of(tunnel),
            "takes_every_hostname": not tunnel.hostnames and not tunnel.named_only,
            "connections": len(tunnel.members),
            "in_flight": sum(member.in_flight for member in tunnel.members),
            "remotely_managed": tunnel.configuration is not None,
            "configuration_version": tunnel.configuration_version,
            "local_configuration": tunnel.local_configuration,
        }

    def _kill(self, connection_id: str) -> tuple[int, object]:
        connection = self._connectors.get(_uuid(connection_id))
        if connection is None:
            raise BadRequest("There is no such connection.", 404)
        connection.close("killed by the control API")
        return 200, {"killed": connection_id}

    def _refuse(self, body: Any) -> tuple[int, object]:
        given = _object(body, {"cause", "retry_after", "should_retry", "count"})
        cause = given.get("cause", "refused by the control API")
        retry_after = given.get("retry_after", 0)
        should_retry = given.get("should_retry", True)
        count = given.get("count", 1)
        if not isinstance(cause, str) or not cause or len(cause) > _MAX_CAUSE:
            raise BadRequest("`cause` is a text.")
        if not _is_number(retry_after) or not 0 <= retry_after <= _MAX_RETRY_AFTER:
            raise BadRequest("`retry_after` is a number of seconds.")
        if not isinstance(should_retry, bool):
            raise BadRequest("`should_retry` is true or false.")
        if type(count) is not int or not self._refusals.add(
            Refusal(cause=cause, retry_after=float(retry_after), should_retry=should_retry), count
        ):
            raise BadRequest(f"`count` is a number from 1, and at most {MAX_SCRIPTED} refusals wait.")
        return 200, {"waiting": len(self._refusals)}

    def _faults(self, method: str, body: Any) -> tuple[int, object]:
        relay = self._relay
        if relay is None:
            raise BadRequest("This edge was started without its fault relay.", 409)
        if method == "POST":
            given = _object(body, {field.name for field in fields(Faults)})
            for name, value in given.items():
                wanted = str if name == "direction" else int if name == "seed" else (int, float)
                if not isinstance(value, wanted) or isinstance(value, bool):
                    raise BadRequest(f"`{name}` has the wrong type.")
            try:
                relay.set(Faults(**given))
            except SettingsError as exc:
                raise BadRequest(f"The faults cannot be set: {exc}.") from None
        elif method == "DELETE":
            relay.set(None)
        elif method != "GET":
            raise BadRequest("That method is not for this path.", 405)
        return 200, {"faults": None if relay.faults is None else asdict(relay.faults), "packets": relay.counts()}

    async def _push(self, tunnel_id: str, body: Any) -> tuple[int, object]:
        tunnel = self._tunnels.get(_uuid(tunnel_id))
        if tunnel is None:
            raise BadRequest("There is no such tunnel.", 404)
        if not isinstance(body, dict):
            raise BadRequest("The body is the configuration: a JSON object with `ingress` and the like.")
        answers = await push_to_tunnel(self._tunnels, tunnel, json.dumps(body).encode())
        if not answers:
            raise BadRequest("No connector of this tunnel is connected.", 409)
        status = 200
        if any(answer.error for answer in answers):
            status = 422 if all(answer.answered for answer in answers) else 502
        return status, {"version": tunnel.configuration_version, "answers": [asdict(answer) for answer in answers]}


def _object(body: Any, known: set[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadRequest("The body is a JSON object.")
    for name in body:
        if name not in known:
            raise BadRequest(f"`{name}` is not known here: {', '.join(sorted(known))} are.")
    return body


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest("That is no id.", 404) from None
