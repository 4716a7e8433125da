"""The contract as an AsyncAPI document.

A namespace is a channel. What clients send is an operation "receive", what the server sends is one "send";
acknowledgements are their replies. Payloads are arrays: the arguments of the event. What clients give as `auth` is
the message of an operation "connect".

Source: AsyncAPI 3.0.0.
"""

from __future__ import annotations

import re
from typing import Any

from madang.contract import Contract, Event, Place
from madang.contract.schemas import INVALID_ARGUMENTS, REF, Schemas, each

__all__ = ["document"]


def document(contract: Contract, title: str = "Madang server", version: str = "1.0.0") -> dict[str, Any]:
    """Describe what a server and its clients say to each other.

    Args:
        contract: what `read` found.
        title: the name of the application.
        version: the version of what is described.

    Returns:
        The document, which can be written as JSON.

    Example:
        ```python
        json.dumps(document(read(io), "Courtyard"))
        ```
    """
    return _Document(contract).write(title, version)


class _Document:
    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._schemas = Schemas(contract.types())
        self._channels: dict[str, Any] = {}
        self._operations: dict[str, Any] = {}
        self._messages: dict[str, Any] = {}
        self._invalid = "InvalidArguments"
        while self._invalid in self._schemas.named:
            self._invalid = "Madang" + self._invalid

    def write(self, title: str, version: str) -> dict[str, Any]:
        for place in self._contract.places:
            self._place(place)
        named = dict(self._schemas.named)
        if any(event.checked for place in self._contract.places for event in place.incoming):
            named[self._invalid] = INVALID_ARGUMENTS
        for message in self._messages.values():
            message["payload"] = _draft7(message["payload"])
        return {
            "asyncapi": "3.0.0",
            "info": {
                "title": title,
                "version": version,
                "description": "Events of Socket.IO. A payload is the list of an event's arguments.",
            },
            "defaultContentType": "application/json",
            "channels": self._channels,
            "operations": self._operations,
            "components": {
                "messages": self._messages,
                "schemas": {name: _draft7(schema) for name, schema in named.items()},
            },
        }

    def _place(self, place: Place) -> None:
        key = _unused(_key(place.name.strip("/")) or "main", self._channels)
        channel: dict[str, Any] = {"address": place.name, "title": f"Namespace {place.name}", "messages": {}}
        if place.description:
            channel["description"] = place.description
        self._channels[key] = channel
        if place.auth:
            auths = [self._schemas.of(kind) for kind in place.auth]
            payload = auths[0] if len(auths) == 1 else {"allOf": auths}
            message = self._message(key, "connect", "auth", "What clients give as auth.", payload)
            self._operation(f"{key}.connect", "receive", key, message, "A client joins the namespace.")
        for event in place.incoming:
            self._event(key, "receive", event)
        for event in place.outgoing:
            self._event(key, "send", event)

    def _event(self, channel: str, action: str, event: Event) -> None:
        name = f"{action}.{event.name}"
        payload = self._schemas.arguments(event.arguments)
        message = self._message(channel, name, event.name, event.description, payload)
        replies = []
        if event.answer is not None:
            payload = self._schemas.answer(event.answer)
            told = f"The acknowledgement of {event.name!r}."
            replies.append(self._message(channel, f"{name}.answer", f"{event.name} answer", told, payload))
        if event.checked:
            payload = {"type": "array", "prefixItems": [{"$ref": REF + self._invalid}], "minItems": 1}
            told = "The acknowledgement of arguments that are invalid."
            replies.append(self._message(channel, "invalid_arguments", "invalid arguments", told, payload))
        self._operation(f"{channel}.{name}", action, channel, message, event.description, replies)

    def _message(self, channel: str, key: str, name: str, description: str, payload: dict[str, Any]) -> str:
        """Add a message; give where it stands in its channel."""
        messages = self._channels[channel]["messages"]
        key = _key(key)
        if key != "invalid_arguments":
            key = _unused(key, messages)
        home = f"{channel}.{key}"
        self._messages[home] = {"name": name, "title": name, "payload": payload}
        if description:
            self._messages[home]["description"] = description
        messages[key] = {"$ref": f"#/components/messages/{home}"}
        return f"#/channels/{channel}/messages/{key}"

    def _operation(
        self, key: str, action: str, channel: str, message: str, description: str, replies: list[str] | None = None
    ) -> None:
        operation: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": message}],
        }
        if description:
            operation["summary"] = description.split("\n")[0]
        if replies:
            operation["reply"] = {
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": reply} for reply in replies],
            }
        self._operations[_unused(_key(key), self._operations)] = operation


def _key(name: str) -> str:
    """A name in the letters that AsyncAPI allows for keys."""
    return re.sub(r"[^A-Za-z0-9_.\-]+", "_", name)


def _unused(name: str, taken: dict[str, Any]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _draft7(value: Any) -> Any:
    """A schema in AsyncAPI's own dialect, which is that of draft 7."""

    def change(one: dict[str, Any]) -> dict[str, Any]:
        if "prefixItems" in one:
            rest = one.pop("items", None)
            one["items"] = one.pop("prefixItems")
            if rest is not None:
                one["additionalItems"] = rest
        if "$ref" in one and len(one) > 1 and one["$ref"].startswith(REF):
            ref = {"$ref": one.pop("$ref")}  # beside it, nothing counts in draft 7
            one = {"allOf": [ref], **one}
        return one

    return each(value, change)
