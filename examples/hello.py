# A server and its page in one file. Two browser windows talk to each other.
#
#   npm install --prefix examples                  # once: the official browser client
#   madang serve hello:app --app-dir examples      # or: python examples/hello.py
#
# Then open http://127.0.0.1:8000 in two windows.

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from madang import Server, Socket, serve

CLIENT = Path(__file__).parent / "node_modules" / "socket.io-client" / "dist"

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Hello</title>
<form><input autofocus placeholder="Say something"> <output></output></form>
<ul></ul>
<script src="/client/socket.io.min.js" onerror="document.body.prepend('Run: npm install --prefix examples')"></script>
<script>
  const socket = io();
  const show = (text) => document.querySelector("ul").append(Object.assign(document.createElement("li"), { textContent: text }));
  socket.on("chat message", show);
  document.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    const field = document.querySelector("input");
    socket.emit("chat message", field.value, (answer) => (document.querySelector("output").value = answer));
    show(field.value);
    field.value = "";
  };
</script>
"""  # noqa: E501

io = Server()


@io.on("chat message")
def chat_message(socket: Socket, text: str) -> str:
    socket.broadcast.emit("chat message", text)  # to everyone but the sender
    return "delivered"  # the acknowledgement


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


site = Starlette(routes=[Route("/", page), Mount("/client", StaticFiles(directory=CLIENT, check_dir=False))])
app = io.asgi(site)  # /socket.io/ is Madang's, everything else is the site's

if __name__ == "__main__":
    serve(app)
