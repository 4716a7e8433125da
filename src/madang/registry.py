"""Finds a transport, generation, parser or bus by its name: our own module, or a third party's entry point.

A checked name is imported, then the entry-point group `madang.<kind>` is asked. Folders are only read by who wants
all that we have.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from typing import TypeVar

from madang.errors import ConfigError

__all__ = ["load", "names"]

T = TypeVar("T")


def names(kind: str) -> list[str]:
    """The names of our own modules of a kind, sorted.

    Args:
        kind: "transports", "wire", "parsers" or "cluster".
    """
    package = importlib.import_module(f"madang.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load(kind: str, name: str, constant: str, expected: type[T]) -> T:
    """Find the object that the module `madang.<kind>.<name>` exports as `constant`.

    Args:
        kind: "transports", "wire", "parsers" or "cluster".
        name: the name in the settings, as "websocket".
        constant: the exported name, as "TRANSPORT".
        expected: the class that the object must be an instance of.

    Raises:
        ConfigError: there is no such module and no entry point, or it exports something else.
    """
    module_name = f"madang.{kind}.{name}"
    if name.isidentifier() and not name.startswith("_") and importlib.util.find_spec(module_name) is not None:
        found = getattr(importlib.import_module(module_name), constant)
    else:
        entries = importlib.metadata.entry_points(group=f"madang.{kind}", name=name)
        if not entries:
            raise ConfigError(f"there is no {name!r} among the {kind}; is its package installed?")
        found = next(iter(entries)).load()
    if not isinstance(found, expected):
        raise ConfigError(f"{kind}: {name!r} exports {found!r}, which is no {expected.__name__}")
    return found
