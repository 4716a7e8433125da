"""The laboratory: ``madang lab``. Each transport is measured on a server, and a wire, of its own.

=================  ==================================================================================
``app.py``         puts the parts together: `create_app`
``events.py``      what the page may ask, and what it is told
``protocol.py``    all of that as types
``lanes.py``       a lane: a server in a thread of its own behind a wire of its own; all lanes
``source.py``      the stream of events: how many, how large, how late, how many lost
``wire.py``        the network between the two: it delays, and never reorders
``observer.py``    reads what travels: requests, responses, chunks, frames. Pure
``measure.py``     the same without a page: ``madang lab --measure``
=================  ==================================================================================
"""

from madang.apps.laboratory.app import AssetsMissingError, create_app

__all__ = ["AssetsMissingError", "create_app"]
