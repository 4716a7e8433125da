# Says something to the clients of all servers of `several_machines.py`, without being a server.
#
#   CLUSTER_URL=redis://localhost:6379 python examples/emit_news.py "Courtyard opens"

import os
import sys

from madang import BlockingEmitter

with BlockingEmitter(os.environ.get("CLUSTER_URL", "redis://localhost:6379")) as emitter:
    emitter.emit("news", " ".join(sys.argv[1:]) or "Courtyard opens")
    print(f"told {len(emitter.fetch_sockets())} clients")
