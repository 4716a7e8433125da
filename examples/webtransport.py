# WebTransport: HTTP/3 over UDP, with a certificate that is made in memory and that the page accepts by its hash.
#
#   pip install "madang[webtransport]"
#   npm install --prefix examples                       # once: the official browser client
#   python examples/webtransport.py                     # or: madang serve webtransport:app --app-dir examples
#
# Then open http://127.0.0.1:8000: the page begins by polling and moves to WebTransport. In the second way nothing
# listens for that, so it moves to a WebSocket: clients are offered what is there.

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from madang import Server, Socket, WebTransport, serve

HERE = Path(__file__).parent
CLIENT = HERE / "node_modules" / "socket.io-client" / "dist"
PAGE = (HERE / "page" / "webtransport.html").read_text()

io = Server(transports=["polling", "websocket", "webtransport"])
beside = WebTransport()


@io.on("how long")
def how_long(socket: Socket) -> str:
    return socket.transport  # the page measures how long this answer takes


async def page(request: Request) -> HTMLResponse:
    # The certificate is renewed every 12 days, so each page is told of the one of today.
    return HTMLResponse(PAGE.replace("/* options */", beside.javascript))


files = [
    Mount("/client", StaticFiles(directory=CLIENT, check_dir=False)),
    Mount("/page", StaticFiles(directory=HERE / "page")),
]
app = io.asgi(Starlette(routes=[Route("/", page), *files]))

if __name__ == "__main__":
    serve(app, webtransport=beside)
