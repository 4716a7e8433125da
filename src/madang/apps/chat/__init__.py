"""The chat: ``madang chat``, and an example of how to write an application with Madang.

=================  =======================================================================
``app.py``         puts the parts together: `create_app`
``events.py``      what browsers may ask over Socket.IO, one short method per event
``api.py``         the JSON API and the files over HTTP, for scripts
``protocol.py``    every message on the wire as a type; validation happens here, once
``people.py``      who is here, and how much each may say
``uploads.py``     files that arrive in chunks
``store.py``       SQLite in its own threads: one writer, group commits
=================  =======================================================================
"""

from madang.apps.chat.app import AssetsMissingError, create_app

__all__ = ["AssetsMissingError", "create_app"]
