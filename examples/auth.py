# Authentication: a middleware looks at what the client gave as `auth`, and turns it away or lets it in.
#
#   npm install --prefix examples                  # once: the official browser client
#   madang serve auth:app --app-dir examples       # or: python examples/auth.py
#
# Then open http://127.0.0.1:8000 and enter with the token "ada", then with another word.

import asyncio

from pages import page

from madang import ConnectionRefused, Server, Socket, serve

USERS = {"ada": "Ada Lovelace", "grace": "Grace Hopper"}

io = Server()


async def find_user(token: object) -> str | None:
    await asyncio.sleep(0.01)  # a database would be asked here
    return USERS.get(token) if isinstance(token, str) else None


@io.use
async def authenticate(socket: Socket) -> None:
    user = await find_user(socket.handshake.auth.get("token"))  # what a client sends may have any type
    if user is None:
        raise ConnectionRefused("not authorised", {"code": 401})
    socket.data["user"] = user


@io.on("connection")
def connected(socket: Socket) -> None:
    socket.join(f"user:{socket.data['user']}")  # all tabs of one user; io.to("user:...") reaches them


@io.on("who am I")
def who_am_i(socket: Socket) -> str:
    return str(socket.data["user"])


app = io.asgi(page("auth"))

if __name__ == "__main__":
    serve(app)
