# Servers that are one: any number of processes, on any number of machines.
#
#   npm install --prefix examples                                       # once: the official browser client
#   madang serve several_machines:app --app-dir examples --workers 2    # or: python examples/several_machines.py
#
# That is one machine, and needs nothing else. With an engine between them there may be many:
#
#   CLUSTER_URL=redis://localhost:6379 madang serve several_machines:app --app-dir examples --port 8001
#   CLUSTER_URL=redis://localhost:6379 madang serve several_machines:app --app-dir examples --port 8002
#   CLUSTER_URL=redis://localhost:6379 python examples/emit_news.py "Courtyard opens"
#
# Then open both, http://127.0.0.1:8001 and http://127.0.0.1:8002.

import os

from pages import page

from madang import ClusterError, Server, Socket, serve

io = Server(cluster=os.environ.get("CLUSTER_URL"))


@io.on("connection")
def connection(socket: Socket) -> None:
    socket.data["process"] = os.getpid()
    io.emit("news", f"{socket.id} came to process {os.getpid()}")  # everyone, at all servers


@io.event
def say(socket: Socket, text: str) -> str:
    io.emit("news", text)
    return f"said by process {os.getpid()}"


@io.event
async def who(socket: Socket) -> dict[str, object]:
    try:
        found = await io.fetch_sockets()  # the clients of all servers
        missing = []
    except ClusterError as late:
        found, missing = late.received, late.missing
    return {"clients": {one.id: one.data.get("process") for one in found}, "missing": missing}


def engine(reached: bool) -> None:
    print("the engine is", "reached" if reached else "away; our own clients notice nothing")


if io.is_clustered:  # with --workers alone there is nothing to be told of
    io.cluster.on("up", lambda: engine(True))
    io.cluster.on("down", lambda error: engine(False))
    io.cluster.on("gap", lambda count, why: print("messages may be lost:", why))


app = io.asgi(page("several_machines"))

if __name__ == "__main__":
    serve(app)
