"""The application of `tests/faces`, with the Flash film of Socket.IO 0.9 beside it, and Ruffle, which plays it."""

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from faces.support.app import io
from support.apps import CLIENT_BUILD, pages

PACKAGES = CLIENT_BUILD.parents[1]

app = io.asgi(
    Starlette(
        routes=[
            Mount("/ruffle", StaticFiles(directory=PACKAGES / "@ruffle-rs" / "ruffle", check_dir=False)),
            Mount("/old", StaticFiles(directory=PACKAGES / "socket.io-client-0.9" / "dist", check_dir=False)),
            Mount("/", pages),
        ]
    )
)
