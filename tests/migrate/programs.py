"""Small programs for python-socketio, each with what its clients do. They know nothing of Madang.

Each is played on python-socketio and on ours, and the transcripts are compared: whatever is noted counts.
"""

import asyncio
import json as standard_json
from collections.abc import Awaitable, Callable
from typing import Any

from migrate.stage import Stage

Program = Callable[[Stage], Awaitable[None]]
PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


# ---- handlers and what they return ----


@program
async def events_and_acknowledgements(stage: Stage) -> None:
    sio = stage.server()

    @sio.event
    def plain(sid: str, *args: Any) -> Any:
        stage.say("plain", sid, *args)
        return args

    @sio.on("spaced name")
    async def spaced(sid: str, value: Any) -> Any:
        await asyncio.sleep(0)
        stage.say("spaced", sid, value)
        return {"got": value}

    @sio.event
    async def nothing(sid: str) -> None:
        stage.say("nothing", sid)

    async def direct(sid: str, value: Any) -> list[Any]:
        return [value]

    sio.on("direct", direct)
    sio.on("keyword", handler=direct, namespace="/")
    await stage.serve(sio)
    one = await stage.client("one")
    for call in (
        one.call("plain", (1, "two", {"three": [3]})),
        one.call("plain", "alone"),
        one.call("plain"),
        one.call("plain", b"\x00bytes"),
        one.call("plain", {"deep": [b"one", {"two": b"two"}]}),
        one.call("spaced name", "value"),
        one.call("nothing"),
        one.call("direct", (None,)),
        one.call("keyword", 5),
    ):
        stage.say("answer", await call)


@program
async def handlers_can_be_replaced(stage: Stage) -> None:
    sio = stage.server()

    @sio.on("again")
    def first(sid: str) -> str:
        return "first"

    @sio.on("again")
    def second(sid: str) -> str:
        return "second"

    await stage.serve(sio)
    one = await stage.client("one")
    stage.say(await one.call("again"))

    @sio.event
    def again(sid: str) -> str:
        return "third"

    stage.say(await one.call("again"), first("x"), second("x"))


@program
async def unhandled_events_get_no_acknowledgement(stage: Stage) -> None:
    sio = stage.server()
    await stage.serve(sio)
    one = await stage.client("one")
    answers: list[Any] = []
    await one.emit("nobody", 1, callback=lambda *args: answers.append(args))
    await one.emit("*", 1, callback=lambda *args: answers.append(args))
    await stage.quiet()
    stage.say(answers)


@program
async def failing_handlers_harm_nobody(stage: Stage) -> None:
    sio = stage.server()

    @sio.event
    def fail(sid: str) -> None:
        raise RuntimeError("deliberate")

    @sio.event
    async def fail_later(sid: str) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("deliberate")

    @sio.event
    def fine(sid: str) -> str:
        return "fine"

    await stage.serve(sio)
    one = await stage.client("one")
    answers: list[Any] = []
    for event in ("fail", "fail_later"):
        await one.emit(event, callback=lambda *args: answers.append(args))
    stage.say(await one.call("fine"), answers)


@program
async def catch_all(stage: Stage) -> None:
    sio = stage.server(namespaces="*")

    @sio.event
    def known(sid: str, value: Any) -> Any:
        return ("known", value)

    @sio.on("*")
    async def rest(event: str, sid: str, *args: Any) -> Any:
        stage.say("rest", event, sid, *args)
        return ("rest", event, *args)

    @sio.on("known", namespace="*")
    def known_elsewhere(namespace: str, sid: str, value: Any) -> Any:
        return ("elsewhere", namespace, value)

    @sio.on("*", namespace="*")
    def rest_elsewhere(event: str, namespace: str, sid: str, *args: Any) -> Any:
        return ("rest elsewhere", event, namespace, *args)

    @sio.on("connect", namespace="*")
    def connect(namespace: str, sid: str, environ: Any, auth: Any) -> None:
        stage.say("connect", namespace, auth)

    @sio.on("disconnect", namespace="*")
    def disconnect(namespace: str, sid: str, reason: str) -> None:
        stage.say("disconnect", namespace, reason)

    await stage.serve(sio)
    one = await stage.client("one", namespaces=["/", "/other"], auth={"a": 1})
    for namespace in ("/", "/other"):
        for event in ("known", "unknown", "message", "connection"):
            stage.say(await one.call(event, 1, namespace=namespace))
    await one.disconnect()
    await stage.quiet()
    stage.said[:2] = sorted(stage.said[:2])
    stage.said[-2:] = sorted(stage.said[-2:])


@program
async def namespaces(stage: Stage) -> None:
    sio = stage.server(namespaces=["/", "/empty"])

    @sio.event(namespace="/chat")
    def hello(sid: str) -> str:
        stage.say("chat", sid in [one for one, _ in sio.manager.get_participants("/chat", None)])
        return "chat"

    @sio.event
    def hello_root(sid: str) -> str:
        return "root"

    sio.on("direct", lambda sid: "direct", namespace="/chat")

    await stage.serve(sio)
    one = await stage.client("one", namespaces=["/", "/chat", "/empty"])
    stage.say(await one.call("hello", namespace="/chat"), await one.call("hello_root"))
    stage.say(await one.call("direct", namespace="/chat"))
    await sio.emit("to chat", 1, namespace="/chat")
    await sio.emit("to root", 2)
    await sio.emit("to nobody", 3, namespace="/nowhere")
    await stage.quiet()
    stage.say(len(set(one.namespaces.values())))
    await sio.disconnect(one.get_sid("/chat"), namespace="/chat")
    await stage.quiet()
    await sio.emit("to chat", 4, namespace="/chat")
    await sio.emit("to root", 5)
    await stage.quiet()
    stage.heard["one"].sort(key=lambda line: (line[0], line[1] != "connect"))


# ---- who comes and goes ----


@program
async def connect_handlers(stage: Stage) -> None:
    sio = stage.server()

    @sio.event
    def connect(sid: str, environ: dict[str, Any]) -> None:
        stage.say("old style", environ["HTTP_X_MARK"], environ["REQUEST_METHOD"], environ["PATH_INFO"])
        stage.say("colour=red" in environ["QUERY_STRING"], environ["asgi.scope"]["path"], environ["REMOTE_ADDR"])

    @sio.on("connect", namespace="/chat")
    async def connect_chat(sid: str, environ: dict[str, Any], auth: Any) -> None:
        stage.say("new style", auth, environ is sio.get_environ(sid, "/chat"))

    @sio.on("connect", namespace="/any")
    async def connect_any(*args: Any) -> None:
        stage.say("any", len(args), args[2])

    url = await stage.serve(sio)
    one = await stage.client("one", headers={"X-Mark": "here"})
    stage.url = url + "?colour=red"
    await stage.client("two", headers={"X-Mark": "here"})
    stage.url = url
    await stage.client("three", "/chat", auth={"token": "마당"})
    await stage.client("four", "/any", auth={})
    stage.say(sio.get_environ(one.get_sid())["HTTP_X_MARK"], sio.get_environ("unknown"))


@program
async def refusals(stage: Stage) -> None:
    sio = stage.server(namespaces=["/ignored"])
    refused = stage.socketio.exceptions.ConnectionRefusedError
    ways: dict[str, Callable[[], Any]] = {
        "/false": lambda: False,
        "/none": refused,
        "/one": lambda: refused("message"),
        "/two": lambda: refused("message", {"code": 401}),
        "/null": lambda: refused("message", None),
        "/three": lambda: refused("message", 1, "two"),
        "/number": lambda: refused(42),
        "/builtin": lambda: ConnectionRefusedError("not told"),
    }

    def add(namespace: str, way: Callable[[], Any]) -> None:
        @sio.on("connect", namespace=namespace)
        async def connect(sid: str, environ: Any, auth: Any) -> Any:
            result = way()
            if isinstance(result, Exception):
                raise result
            return result

        @sio.on("disconnect", namespace=namespace)
        def disconnect(sid: str) -> None:
            stage.say("never")

    for namespace, way in ways.items():
        add(namespace, way)
    await stage.serve(sio)
    for namespace in ways:
        await stage.client(namespace, namespace)
    await stage.quiet()
    stage.say(sorted(sio.manager.get_participants("/false", None)))


@program
async def always_connect(stage: Stage) -> None:
    sio = stage.server(always_connect=True)
    ready = asyncio.Event()

    @sio.event
    async def connect(sid: str, environ: Any, auth: Any) -> Any:
        await sio.emit("before", to=sid)
        await ready.wait()
        stage.say("connect done")
        await asyncio.sleep(0.05)  # the client overlooks what comes in the same breath as its welcome
        return False if auth == {"no": True} else None

    @sio.event
    def early(sid: str) -> None:
        stage.say("early")

    @sio.event
    def disconnect(sid: str, reason: str) -> None:
        stage.say("disconnect", reason)

    await stage.serve(sio)
    one = await stage.client("one")
    await one.emit("early")
    await stage.quiet()
    ready.set()
    await stage.quiet()
    await stage.client("two", auth={"no": True})
    await stage.quiet()
    await one.disconnect()
    await stage.quiet()


@program
async def what_is_said_before_the_welcome(stage: Stage) -> None:
    sio = stage.server()

    @sio.event
    async def connect(sid: str, environ: Any) -> None:
        await sio.enter_room(sid, "hall")
        await sio.enter_room(sid, "left")
        await sio.leave_room(sid, "left")
        stage.say(sorted(set(sio.rooms(sid)) - {sid}), len(sio.rooms(sid)), sio.manager.is_connected(sid, "/"))
        await sio.emit("to sid", 1, to=sid)
        await sio.emit("to hall", 2, room="hall")
        await sio.emit("to left", 3, room="left")
        await sio.emit("to all", 4)
        await sio.emit("not to me", 5, skip_sid=sid)
        await sio.emit("several", (6, 7), to=["nowhere", "hall"])
        async with sio.session(sid) as session:
            session["name"] = "here"

    @sio.event
    async def name(sid: str) -> Any:
        return (await sio.get_session(sid))["name"]

    await stage.serve(sio)
    one = await stage.client("one")
    stage.say(await one.call("name"))
    two = await stage.client("two")
    stage.say(await two.call("name"))
    await stage.quiet()
    for lines in stage.heard.values():
        lines.sort(key=lambda line: line[1] != "connect")


@program
async def disconnect_reasons(stage: Stage) -> None:
    sio = stage.server(ping_interval=1, ping_timeout=1)

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        rooms = sorted(set(sio.rooms(sid)) - {sid})
        stage.say(sid, reason, rooms, await sio.get_session(sid), sio.manager.is_connected(sid, "/"))
        await asyncio.sleep(0.01)
        stage.say(sorted(set(sio.rooms(sid)) - {sid}))

    @sio.event
    async def enter(sid: str) -> None:
        await sio.enter_room(sid, "hall")
        await sio.save_session(sid, {"kept": True})

    await stage.serve(sio)
    one = await stage.client("one")
    two = await stage.client("two", transports=["websocket"])
    three = await stage.client("three", transports=["websocket"])
    four = await stage.client("four", transports=["websocket"])
    for client in (one, two, three, four):
        await client.call("enter")
    await one.disconnect()
    await stage.quiet()
    await sio.disconnect(two.get_sid())
    stage.say("after the handler")
    await stage.quiet()
    three.eio.ws._response.connection.close()
    await stage.quiet()
    four.eio.write_loop_task.cancel()  # it answers no ping any more
    await asyncio.wait_for(stage.until(8), 10)


@program
async def disconnect_with_one_parameter(stage: Stage) -> None:
    sio = stage.server()

    @sio.event
    def disconnect(sid: str) -> None:
        stage.say("plain", sid)

    @sio.on("disconnect", namespace="/chat")
    async def disconnect_chat(sid: str) -> None:
        stage.say("async", sid)

    await stage.serve(sio)
    one = await stage.client("one")
    two = await stage.client("two", "/chat")
    await one.disconnect()
    await two.disconnect()
    await stage.quiet()
    await sio.disconnect("unknown")


# ---- talking ----


@program
async def emit_to_whom(stage: Stage) -> None:
    sio = stage.server()
    await stage.serve(sio)
    clients = {name: await stage.client(name) for name in ("one", "two", "three")}
    sids = {name: client.get_sid() for name, client in clients.items()}
    await sio.enter_room(sids["one"], "a")
    await sio.enter_room(sids["two"], "a")
    await sio.enter_room(sids["two"], "b")
    await sio.enter_room(sids["three"], "b")
    await sio.emit("all")
    await sio.emit("to one", 1, to=sids["one"])
    await sio.emit("room one", 1, room=sids["one"])
    await sio.emit("to a", 1, to="a")
    await sio.emit("room a", 1, room="a")
    await sio.emit("to list", 1, to=["a", "b"])
    await sio.emit("room list", 1, room=["a", "nobody"])
    await sio.emit("skip one", 1, skip_sid=sids["one"])
    await sio.emit("skip two of a", 1, room="a", skip_sid=[sids["two"], "unknown"])
    await sio.emit("skip a room's name", 1, skip_sid="a")
    await sio.emit("skip none", 1, skip_sid=None)
    await sio.emit("nobody", 1, to="nobody")
    await sio.emit("empty room", 1, room="")
    await sio.emit("empty to", 1, to="")
    await sio.emit("empty list", 1, to=[])
    await sio.send("sent")
    await sio.send(("sent", "twice"), room="b", skip_sid=sids["two"])
    await sio.send("sent to", to=sids["three"])
    await sio.emit("ignore", 1, ignore_queue=True)
    await stage.quiet()


@program
async def emit_what(stage: Stage) -> None:
    sio = stage.server()
    await stage.serve(sio)
    await stage.client("one")
    for data in (
        None,
        0,
        False,
        "",
        (),
        [],
        {},
        (1,),
        (1, 2),
        (None,),
        [1, (2, 3)],
        "텍스트",
        1.5,
        b"bytes",
        {"a": b"bytes", "b": [b"more"]},
        (b"one", "two"),
        {1: "number"},
    ):
        await sio.emit("data", data)
    await stage.quiet()


@program
async def callbacks(stage: Stage) -> None:
    sio = stage.server()

    @sio.event
    def answer_me(sid: str) -> None:
        stage.say("asked")

    await stage.serve(sio)
    one = await stage.client("one")
    await stage.client("two")
    sid = one.get_sid()

    async def later(*args: Any) -> None:
        await asyncio.sleep(0)
        stage.say("async", *args)

    await sio.emit("question", 5, to=sid, callback=lambda *args: stage.say("plain", *args))
    await stage.quiet()
    await sio.emit("question", (5, 6), to=sid, callback=later)
    await stage.quiet()
    await sio.emit("question", to=sid, callback=lambda: stage.say("none"))
    await stage.quiet()
    await sio.emit("question", to=sid, callback=lambda value="default": stage.say("default", value))
    await stage.quiet()
    await sio.emit("question", 7, callback=lambda *args: stage.say("both", *args))
    await stage.quiet()
    await sio.send("no answer", to=sid, callback=lambda *args: stage.say("message", args))
    await stage.quiet()


@program
async def call(stage: Stage) -> None:
    sio = stage.server()
    timeout = stage.socketio.exceptions.TimeoutError

    @sio.event
    async def ask_me(sid: str) -> Any:
        return await sio.call("question", "in a handler", to=sid)

    await stage.serve(sio)
    one = await stage.client("one")
    sid = one.get_sid()
    stage.say(await sio.call("question", 1, to=sid))
    stage.say(await sio.call("question", (1, 2), sid=sid, timeout=5))
    stage.say(await sio.call("question", to=sid, timeout=None))
    stage.say(await one.call("ask_me"))

    async def silence() -> None:
        await asyncio.sleep(1)

    one.on("silence", silence)
    for arguments in ({"to": sid, "timeout": 0.05}, {"to": "unknown", "timeout": 0.05}, {"timeout": 1}):
        try:
            await sio.call("silence", **arguments)
        except timeout:
            stage.say("timeout")
        except ValueError:
            stage.say("ValueError")


@program
async def rooms(stage: Stage) -> None:
    sio = stage.server()
    await stage.serve(sio)
    one, two = await stage.client("one"), await stage.client("two")
    a, b = one.get_sid(), two.get_sid()

    def tell(*what: Any) -> None:
        for sid in (a, b):
            stage.say(*what, sorted(stage.who(str(room)) for room in sio.rooms(sid)))

    tell("at first")
    for room in ("hall", 42, ("a", "tuple"), "42"):
        await sio.enter_room(a, room)
        await sio.enter_room(b, room)
    tell("entered")
    await sio.emit("to number", 1, room=42)
    await sio.emit("to string", 2, room="42")
    await sio.leave_room(a, 42)
    await sio.leave_room(a, "never entered")
    await sio.leave_room("unknown", "hall")
    tell("left")
    await sio.emit("to number", 3, room=42)
    await sio.close_room("hall")
    await sio.close_room("nothing")
    tell("closed")
    await sio.emit("to hall", 4, room="hall")
    stage.say([stage.who(sid) for sid, _ in sio.manager.get_participants("/", 42)], sio.rooms("unknown"))
    stage.say(sorted(stage.who(str(room)) for room in sio.manager.rooms["/"]), sorted(sio.manager.rooms["/"][42]))
    stage.say([stage.who(sid) for sid in sio.manager.rooms["/"][None]])
    for wrong in (
        lambda: sio.enter_room(a, b),
        lambda: sio.close_room(b),
        lambda: sio.enter_room(a, "x", namespace="/nowhere"),
    ):
        try:
            await wrong()
        except ValueError as error:
            stage.say(type(error).__name__)
    await stage.quiet()
    await two.disconnect()
    await stage.quiet()
    stage.say(sio.rooms(b), list(sio.manager.get_namespaces()))


@program
async def sessions(stage: Stage) -> None:
    sio = stage.server()

    @sio.event
    async def remember(sid: str, value: Any) -> None:
        async with sio.session(sid) as session:
            session["value"] = value

    @sio.event
    async def remembered(sid: str) -> Any:
        return await sio.get_session(sid)

    await stage.serve(sio)
    one, two = await stage.client("one"), await stage.client("two")
    stage.say(await one.call("remembered"))
    await one.call("remember", {"a": [1]})
    stage.say(await one.call("remembered"), await two.call("remembered"))
    sid = one.get_sid()
    await sio.save_session(sid, {"other": True})
    stage.say(await sio.get_session(sid))
    await sio.save_session(sid, ["any", "value"])
    stage.say(await sio.get_session(sid))
    try:
        async with sio.session(sid) as session:
            session.append("kept")
            raise RuntimeError("deliberate")
    except RuntimeError:
        stage.say(await sio.get_session(sid))
    for missing in (lambda: sio.get_session("unknown"), lambda: sio.save_session("unknown", {})):
        try:
            await missing()
        except KeyError:
            stage.say("KeyError")


@program
async def transport(stage: Stage) -> None:
    sio = stage.server(ping_interval=0.3, ping_timeout=0.3)  # by which python-socketio lets polling clients go
    await stage.serve(sio)
    one = await stage.client("one", transports=["polling"])
    two = await stage.client("two", transports=["websocket"])
    stage.say(sio.transport(one.get_sid()), sio.transport(two.get_sid()))
    try:
        sio.transport("unknown")
    except KeyError:
        stage.say("KeyError")


@program
async def background_tasks(stage: Stage) -> None:
    sio = stage.server()

    async def tick(count: int, *, word: str) -> str:
        stage.say("begins")
        for number in range(count):
            await sio.sleep(0.001)
            await sio.emit("tick", (word, number))
        return "done"

    @sio.event
    async def start(sid: str) -> Any:
        task = sio.start_background_task(tick, 3, word="tock")
        stage.say("started", isinstance(task, asyncio.Task))
        return await task

    await stage.serve(sio)
    one = await stage.client("one")
    stage.say(await one.call("start"))


@program
async def one_after_the_other(stage: Stage) -> None:
    sio = stage.server(async_handlers=False)

    @sio.event
    async def slow(sid: str, number: int) -> None:
        stage.say("begins", number)
        await asyncio.sleep(0.02 if number == 0 else 0)
        stage.say("ends", number)

    @sio.event
    def quick(sid: str, number: int) -> None:
        stage.say("quick", number)

    await stage.serve(sio)
    one = await stage.client("one")
    for number in range(3):
        await one.emit("slow", number)
        await one.emit("quick", number)
    await stage.quiet()


@program
async def side_by_side(stage: Stage) -> None:
    sio = stage.server()

    @sio.event
    async def slow(sid: str, number: int) -> None:
        stage.say("begins", number)
        await asyncio.sleep(0.05)
        stage.say("ends", number)

    await stage.serve(sio)
    one = await stage.client("one")
    for number in range(3):
        await one.emit("slow", number)
    await asyncio.sleep(0.3)


# ---- namespaces as classes ----


@program
async def class_based(stage: Stage) -> None:
    sio = stage.server()

    class Chat(stage.socketio.AsyncNamespace):  # type: ignore[name-defined]
        async def on_connect(self, sid: str, environ: Any, auth: Any) -> None:
            stage.say("connect", auth, "HTTP_HOST" in environ)
            await self.enter_room(sid, "hall")

        def on_disconnect(self, sid: str, reason: str) -> None:
            stage.say("disconnect", reason, sorted(set(self.rooms(sid)) - {sid}))

        async def on_talk(self, sid: str, text: str) -> Any:
            await self.emit("talk", (stage.who(sid), text), room="hall", skip_sid=sid)
            await self.send(text, to=sid)
            return "said"

        def on_plain(self, sid: str, *args: Any) -> Any:
            return args

        async def on_keep(self, sid: str, value: Any) -> Any:
            await self.save_session(sid, {"value": value})
            async with self.session(sid) as session:
                session["more"] = True
            return await self.get_session(sid)

        async def on_ask(self, sid: str) -> Any:
            return await self.call("question", 1, to=sid)

        async def on_leave(self, sid: str) -> Any:
            await self.leave_room(sid, "hall")
            return len(self.rooms(sid))

        async def on_close(self, sid: str) -> None:
            await self.close_room("hall")

        async def on_out(self, sid: str) -> None:
            await self.disconnect(sid)

    class Elsewhere(stage.socketio.AsyncNamespace):  # type: ignore[name-defined]
        def on_disconnect(self, sid: str) -> None:
            stage.say("elsewhere left")

        def on_who(self, sid: str) -> str:
            return self.namespace

    sio.register_namespace(Chat("/chat"))
    sio.register_namespace(Elsewhere())

    @sio.on("function", namespace="/chat")
    def function(sid: str) -> str:
        return "a function goes first"

    await stage.serve(sio)
    one = await stage.client("one", "/chat", auth={"n": 1})
    two = await stage.client("two", "/chat")
    three = await stage.client("three")
    for event, data in (
        ("talk", "hello"),
        ("plain", (1, b"2")),
        ("keep", 5),
        ("ask", None),
        ("leave", None),
        ("function", None),
        ("unknown", 1),
    ):
        stage.say(event, await one.call(event, data, namespace="/chat"))
    await stage.quiet()
    stage.say(await three.call("who"), sorted(sio.namespace_handlers))
    await one.call("talk", "who hears?", namespace="/chat")
    await two.call("close", namespace="/chat")
    await one.call("talk", "nobody hears", namespace="/chat")
    await stage.quiet()
    await two.emit("out", namespace="/chat")
    await stage.quiet()
    await one.disconnect()
    await three.disconnect()
    await stage.quiet()
    try:
        sio.register_namespace(object())
    except ValueError:
        stage.say("ValueError")


@program
async def class_that_triggers_itself(stage: Stage) -> None:
    sio = stage.server()

    class Router(stage.socketio.AsyncNamespace):  # type: ignore[name-defined]
        async def trigger_event(self, event: str, *args: Any) -> Any:
            stage.say(event, len(args))
            if event in ("connect", "disconnect"):
                return None
            return ("routed", event, *args[1:])

    sio.register_namespace(Router("/chat"))
    await stage.serve(sio)
    one = await stage.client("one", "/chat")
    stage.say(await one.call("whatever", (1, 2), namespace="/chat"))
    stage.say(await one.call("with a space", namespace="/chat"))
    await one.disconnect()
    await stage.quiet()


@program
async def class_for_all_namespaces(stage: Stage) -> None:
    sio = stage.server(namespaces=["/", "/left", "/right"])

    class Every(stage.socketio.AsyncNamespace):  # type: ignore[name-defined]
        def on_connect(self, namespace: str, sid: str, environ: Any) -> None:
            stage.say("connect", namespace)

        async def on_where(self, namespace: str, sid: str, value: Any) -> Any:
            await self.emit("where", value, namespace=namespace)
            return (namespace, value)

        def on_disconnect(self, namespace: str, sid: str) -> None:
            stage.say("disconnect", namespace)

    class Right(stage.socketio.AsyncNamespace):  # type: ignore[name-defined]
        def on_where(self, sid: str, value: Any) -> str:
            return "right"

    sio.register_namespace(Every("*"))
    sio.register_namespace(Right("/right"))
    await stage.serve(sio)
    left = await stage.client("left", "/left")
    right = await stage.client("right", "/right")
    stage.say(await left.call("where", 1, namespace="/left"), await right.call("where", 2, namespace="/right"))
    await left.disconnect()
    await stage.quiet()


# ---- settings ----


@program
async def settings(stage: Stage) -> None:
    sio = stage.server(
        ping_interval=(1, 1),
        ping_timeout=1,
        max_http_buffer_size=12_345,
        allow_upgrades=False,
        http_compression=False,
        compression_threshold=10,
        cookie={"name": "courtyard", "path": "/here", "SameSite": "Strict", "HttpOnly": True},
        cors_allowed_origins=["https://friend.example"],
        cors_credentials=True,
        transports=["polling", "websocket"],
        monitor_clients=True,
        json=standard_json,
        serializer="default",
        client_manager=stage.socketio.AsyncManager(),
    )
    await stage.serve(sio)
    one = await stage.client("one", headers={"Origin": "https://friend.example"})
    stage.say(one.eio.upgrades, round(one.eio.ping_interval + one.eio.ping_timeout, 6), sio.async_mode)
    stage.say(one.transport())
    await stage.client("two", headers={"Origin": "https://enemy.example"})
    stage.say(stage.heard["two"][0][0])
    stage.heard["two"].clear()  # the words differ
