"""The application that "MODULE:APP" names."""

from __future__ import annotations

import importlib
from typing import Any

from madang.errors import ConfigError
from madang.faces.asgi import ASGIApplication
from madang.server import Server

__all__ = ["Target", "load"]

#: "MODULE:APP", or the same of a function that makes the application, with what it is called with.
Target = str | tuple[str, dict[str, Any]]


def load(target: Target) -> Server | ASGIApplication:
    """Import an application.

    Args:
        target: what names it.

    Raises:
        ConfigError: there is none.

    Example:
        ```python
        load("chat:io")
        ```
    """
    if not isinstance(target, str):
        function, arguments = target
        made: Server | ASGIApplication = _find(function)(**arguments)
        return made
    found = _find(target)
    if not (isinstance(found, Server) or callable(found)):
        raise ConfigError(
            f"{target} is {found!r:.60}, of type {type(found).__name__}; it must be a Server or an ASGI application"
        )
    app: Server | ASGIApplication = found
    return app


def _find(target: str) -> Any:
    name, _, attribute = target.partition(":")
    if not attribute:
        raise ConfigError(f"write MODULE:APP, as in {name}:io")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name and not name.startswith(f"{error.name}."):
            raise
        raise ConfigError(f"there is no module {name!r} here; is --app-dir right?") from None
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigError(f"{name} has no {attribute!r}") from None
    return found
