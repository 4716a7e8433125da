"""The laboratory's server by itself, for `madang types`, which writes the page's TypeScript of it.

``madang types madang.apps.laboratory.contract:io --output browser/laboratory/src/events.ts``
"""

from madang.apps.laboratory.events import make_server
from madang.apps.laboratory.lanes import Lanes

__all__ = ["io"]

io = make_server(Lanes())
