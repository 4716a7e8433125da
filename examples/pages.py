# What the other examples share: a page of the folder `page`, and the official browser client beside it.
# There is nothing of Madang in here.

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

HERE = Path(__file__).parent
CLIENT = HERE / "node_modules" / "socket.io-client" / "dist"  # npm install --prefix examples


def page(name: str) -> Starlette:
    """An application that shows one page."""

    async def show(request: Request) -> FileResponse:
        return FileResponse(HERE / "page" / f"{name}.html")

    return Starlette(
        routes=[
            Route("/", show),
            Mount("/client", StaticFiles(directory=CLIENT, check_dir=False)),
            Mount("/page", StaticFiles(directory=HERE / "page")),
        ]
    )
