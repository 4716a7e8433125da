# Beside FastAPI: one process, one port. A request of the HTTP API is told to all browsers.
#
#   pip install fastapi
#   npm install --prefix examples                     # once: the official browser client
#   madang serve fastapi_app:app --app-dir examples   # or: python examples/fastapi_app.py
#
# Open http://127.0.0.1:8000, then in another terminal:
#
#   curl -X POST http://127.0.0.1:8000/orders -H "Content-Type: application/json" -d '{"item": "tea", "count": 2}'

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pages import page
from pydantic import BaseModel

from madang import Server, Socket, serve

io = Server()
orders: list["Order"] = []


class Order(BaseModel):
    item: str
    count: int = 1


async def clock() -> None:
    while True:
        await asyncio.sleep(1)
        io.volatile.emit("orders so far", len(orders))


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(clock())  # Madang starts before this, and its clients have left when this ends
    yield
    task.cancel()


api = FastAPI(lifespan=lifespan)


@api.post("/orders", status_code=201)
async def order(new: Order) -> Order:
    orders.append(new)
    io.emit("order", new)  # pydantic models may be emitted
    return new


@io.on("orders")
def all_orders(socket: Socket) -> list[Order]:
    return orders


api.mount("/", page("fastapi_app"))
app = io.asgi(api)

if __name__ == "__main__":
    serve(app)
