# Binary: bytes may stand anywhere among an event's arguments, in both directions and in acknowledgements.
#
#   npm install --prefix examples                  # once: the official browser client
#   madang serve binary:app --app-dir examples     # or: python examples/binary.py
#
# Then open http://127.0.0.1:8000 in two windows and choose a picture.

import hashlib

from pages import page

from madang import Server, Socket, serve

# A WebSocket message or a POST may have 5 MB. All attachments of one event together: max_packet_bytes, 10 MB.
io = Server(max_payload_bytes=5_000_000)


@io.event
def picture(socket: Socket, info: object, content: object) -> dict[str, object]:
    if not isinstance(info, dict) or not isinstance(content, bytes):  # clients may send anything
        return {"error": "send an object and bytes"}
    about = {"name": str(info.get("name"))[:100], "type": str(info.get("type"))[:100]}
    socket.broadcast.emit("picture", about, content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).digest()}  # 32 raw bytes in the answer


app = io.asgi(page("binary"))

if __name__ == "__main__":
    serve(app)
