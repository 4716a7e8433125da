"""What pages need to talk to a server: the official client, and transports for it that it hasn't by itself.

The files are built by `make assets` from `browser/transports` and a pinned npm package. Wheels carry them; a checkout
has to make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from madang.core.files import File

__all__ = ["files"]

_STATIC: Final = Path(__file__).with_name("static")
_TYPES: Final = {".js": "text/javascript; charset=UTF-8", ".map": "application/json"}


@cache
def files() -> Mapping[str, File]:
    """The files that are served under `path`, by name: `transports.js`, `socket.io.js` and their kin.

    Empty in a checkout where `make assets` was never run.
    """
    found = {
        path.name: File(_TYPES[path.suffix], path.read_bytes)
        for path in (sorted(_STATIC.iterdir()) if _STATIC.is_dir() else ())
        if path.suffix in _TYPES
    }
    return MappingProxyType(found)
