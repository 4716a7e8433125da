"""What browsers and programs may ask over Socket.IO.

Who comes brings a token and a nickname as `auth`; of clients of Socket.IO 2.x and older, that is their query. Who
brings nothing is a guest, until `rename`. Each request is one JSON object and is acknowledged with one: the answer, or
``{"error": {"code", "message"}}``.

=====================  ==========================================================================================
ask                    answer; what others hear
=====================  ==========================================================================================
``hello``              who you are, all rooms, yours with what you missed
``create``             the room; everybody hears ``room``
``join``, ``leave``    the room as you find it; its people hear ``arrived`` or ``departed``
``history``            a page of messages
``say``                the message, once it is stored; the room hears ``message``
``typing``             nothing; the room hears ``typing``, unless it is busy (volatile)
``read``               nothing; the room hears ``seen``
``rename``             you; your rooms hear ``renamed``
``upload_start``       the upload and its chunk size
``upload_chunk``       bytes received, and the file when it is whole; a client without bytes sends base64
``ping``               nothing: it measures the round trip (clients 1.x and 2.x keep this name to themselves)
=====================  ==========================================================================================
"""

import functools
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, get_type_hints

import msgspec

from madang import AckTimeout, ConnectionRefused, Namespace, Server, Socket
from madang.apps.chat import protocol as p
from madang.apps.chat.people import Elsewhere, People, Person, person_id
from madang.apps.chat.store import Store
from madang.apps.chat.uploads import Uploads

Ask = TypeVar("Ask", bound=msgspec.Struct)
Answer = dict[str, Any]


def request(
    method: Callable[["Chat", Socket, Person, Ask], Awaitable[Answer]],
) -> Callable[..., Awaitable[Answer]]:
    """Make an event handler of a method: its request is validated, its errors become answers."""
    kind: type[Ask] = get_type_hints(method)["ask"]

    @functools.wraps(method)
    async def handler(self: "Chat", socket: Socket, raw: object = None) -> Answer:
        try:
            person: Person = socket.data["person"]
            person.asking.spend(time.monotonic())
            return await method(self, socket, person, msgspec.convert(raw, kind))
        except msgspec.ValidationError as error:
            return p.ChatError("invalid", str(error)).as_answer()
        except p.ChatError as error:
            return error.as_answer()

    del handler.__wrapped__  # its signature is its own
    return handler


class Chat(Namespace):
    """The namespace that the page talks to."""

    def __init__(self, store: Store, uploads: Uploads, people: People) -> None:
        super().__init__("/")
        self.store = store
        self.uploads = uploads
        self.people = people
        self.server = ""

    # --- coming and going ---------------------------------------------------------------------------------

    def admit(self, socket: Socket) -> None:
        """Middleware: let in who brings a token and a nickname that nobody else here has, and guests."""
        given = socket.handshake.auth
        try:
            auth = msgspec.convert(given, p.Auth) if given else p.guest()
            nick = p.clean_line(auth.nick, p.MAX_NICK, "nickname")
            self.people.check_nick(nick, person_id(auth.token))
        except msgspec.ValidationError as error:
            raise ConnectionRefused("invalid", {"code": "invalid", "message": str(error)}) from error
        except p.ChatError as error:
            raise ConnectionRefused(error.code, error.as_answer()["error"]) from error
        socket.data["admitted"] = person_id(auth.token), nick

    def on_connection(self, socket: Socket) -> None:
        """Count a tab as there from the moment that it is; its person takes the nickname that it brings."""
        who, nick = socket.data["admitted"]
        person = self.people.arrive(socket, who, nick)
        socket.data["person"] = person
        socket.join(tabs_of(who))
        if person.nick != nick:
            self._rename(person, nick)
        else:
            self._announce(person)

    def on_disconnect(self, socket: Socket, reason: str) -> None:
        """Tell the rooms when somebody's last tab is gone."""
        person: Person = socket.data["person"]
        if self.people.depart(socket, person):
            self.server_side_emit("person", self.server, person.id, None, [])
            for room in person.rooms:
                if not self.people.is_elsewhere(person.id, room):
                    self._tell(room, "departed", {"room": room, "who": person.who})

    @request
    async def on_hello(self, socket: Socket, person: Person, ask: p.Hello) -> Answer:
        """Put a tab into its person's rooms, then catch up: in this order nothing falls between the two."""
        await self.store.rename(person.who)
        for room in await self.store.joined(person.id):
            self._enter(person, room)
        visits = await self.store.visits(person.id, ask.rooms)
        return _answer(
            me=person.who,
            limits={"text": p.MAX_TEXT, "file": p.MAX_FILE_BYTES, "chunk": p.CHUNK_BYTES, "nick": p.MAX_NICK},
            rooms=await self.store.rooms(),
            counts=self.people.counts(),
            visits=visits,
            here={visit.room.id: self.people.here(visit.room.id) for visit in visits},
        )

    @request
    async def on_rename(self, socket: Socket, person: Person, ask: p.Rename) -> Answer:
        """Change a nickname, here and for all of the person's tabs."""
        nick = p.clean_line(ask.nick, p.MAX_NICK, "nickname")
        self.people.check_nick(nick, person.id)
        self._rename(person, nick)
        await self.store.rename(person.who)
        return _answer(me=person.who)

    # --- rooms --------------------------------------------------------------------------------------------

    @request
    async def on_create(self, socket: Socket, person: Person, ask: p.Create) -> Answer:
        """Make a room and tell everybody, in whatever room they are."""
        name = p.clean_line(ask.name, p.MAX_ROOM_NAME, "name")
        topic = p.clean_line(ask.topic, p.MAX_TOPIC, "topic") if ask.topic.strip() else ""
        room = p.Room(p.room_id(name), name, topic)
        person.creating.spend(time.monotonic())
        await self.store.create_room(room, person.id)
        self.emit("room", _plain(room))
        return await self._join(person, room.id)

    @request
    async def on_join(self, socket: Socket, person: Person, ask: p.InRoom) -> Answer:
        """Become a member, with all tabs."""
        return await self._join(person, ask.room)

    @request
    async def on_leave(self, socket: Socket, person: Person, ask: p.InRoom) -> Answer:
        """End a membership, for all tabs."""
        await self.store.leave(ask.room, person.id)
        if ask.room in person.rooms:
            person.rooms.discard(ask.room)
            self._tell(ask.room, "departed", {"room": ask.room, "who": person.who})
            self.in_(tabs_of(person.id)).sockets_leave(channel(ask.room))
            self.server_side_emit("left", person.id, ask.room)
            self._announce(person)
        return {}

    @request
    async def on_history(self, socket: Socket, person: Person, ask: p.History) -> Answer:
        """Answer a page of a room's messages."""
        page = await self.store.page(ask.room, ask.before, ask.limit)
        return _answer(messages=page.messages, more=page.more)

    # --- messages -----------------------------------------------------------------------------------------

    @request
    async def on_say(self, socket: Socket, person: Person, ask: p.Say) -> Answer:
        """Store a message, tell the room, acknowledge: in this order."""
        text = p.clean_text(ask.text)
        if not text and ask.file is None:
            raise p.ChatError("invalid", "The message is empty.")
        if ask.room not in person.rooms:
            raise p.ChatError("not_joined", "Join the room first.", status=403)
        person.saying.spend(time.monotonic())
        message, new = await self.store.add_message(ask.room, person.who, ask.key, text, ask.file)
        if new:
            socket.to(channel(ask.room)).emit("message", _plain(message))
        return _answer(message=message)

    @request
    async def on_typing(self, socket: Socket, person: Person, ask: p.Typing) -> Answer:
        """Show others that somebody writes. Worth nothing a second later, so a busy client may miss it."""
        if ask.room in person.rooms:
            news = {"room": ask.room, "who": person.who, "on": ask.on}
            socket.to(channel(ask.room)).volatile.emit("typing", _plain(news))
        return {}

    @request
    async def on_read(self, socket: Socket, person: Person, ask: p.Read) -> Answer:
        """Move a read mark, for the reader's own unread counts and for the authors' second tick."""
        if await self.store.mark_read(ask.room, person.id, ask.upto):
            socket.to(channel(ask.room)).emit("seen", _plain({"room": ask.room, "who": person.who, "upto": ask.upto}))
        return {}

    @request
    async def on_upload_start(self, socket: Socket, person: Person, ask: p.UploadStart) -> Answer:
        """Announce a file."""
        upload = await self.uploads.start(person.id, ask)
        return {"upload": upload.file.id, "chunk": p.CHUNK_BYTES}

    @request
    async def on_upload_chunk(self, socket: Socket, person: Person, ask: p.UploadChunk) -> Answer:
        """Take the next bytes of a file: a binary attachment of the packet."""
        received, file = await self.uploads.add(person.id, ask)
        return _answer(received=received, file=file)

    def on_ping(self, socket: Socket) -> None:
        """Answer at once with an empty acknowledgement."""

    # --- other servers ------------------------------------------------------------------------------------

    async def meet(self, io: Server) -> None:
        """When the server starts: keep what the others of its cluster tell of their people, if it is in one."""
        if not io.is_clustered:
            return
        self.server = io.cluster.uid
        for event, function in (
            ("person", self._told),
            ("people", lambda: [self.server, self.people.table()]),
            ("entered", self._entered_elsewhere),
            ("left", self._left_elsewhere),
            ("renamed", self._renamed_elsewhere),
        ):
            self.server_side_event(event, function)
        io.cluster.on("left", lambda peer, why: self._server_gone(peer.uid))
        io.cluster.on("up", lambda: io.spawn(self._meet()))
        io.cluster.on("joined", lambda peer: io.spawn(self._meet()))  # perhaps one that was only thought dead
        await self._meet()

    async def _meet(self) -> None:
        """Ask the others who is there."""
        try:
            answers = await self.server_side_call("people", timeout=2)
        except AckTimeout as late:
            answers = late.received
        for server, table in answers:
            there = [Elsewhere(person, nick, frozenset(rooms)) for person, nick, rooms in table]
            self._say_gone(self.people.told_all(server, there))  # of those whose going was not heard

    def _announce(self, person: Person) -> None:
        self.server_side_emit("person", self.server, person.id, person.nick, sorted(person.rooms))

    def _told(self, server: str, person: str, nick: str | None, rooms: list[str]) -> None:
        if nick is None:
            self.people.told_gone(server, person)
        else:
            self.people.told(server, Elsewhere(person, nick, frozenset(rooms)))

    def _server_gone(self, server: str) -> None:
        self._say_gone(self.people.server_gone(server))

    def _say_gone(self, people: Iterable[Elsewhere]) -> None:
        for one in people:
            for room in one.rooms:  # each server tells its own clients
                news = {"room": room, "who": p.Who(one.id, one.nick)}
                self.local.to(channel(room)).emit("departed", _plain(news))

    def _entered_elsewhere(self, person: str, room: str) -> None:
        """Somebody with tabs at several servers has joined a room at another one."""
        found = self.people.get(person)
        if found is not None and room not in found.rooms:
            found.rooms.add(room)
            self._announce(found)

    def _left_elsewhere(self, person: str, room: str) -> None:
        found = self.people.get(person)
        if found is not None and room in found.rooms:
            found.rooms.discard(room)
            self._announce(found)

    def _renamed_elsewhere(self, person: str, nick: str) -> None:
        found = self.people.get(person)
        if found is not None and found.nick != nick:
            found.nick = nick
            self._announce(found)

    # --- help ---------------------------------------------------------------------------------------------

    def _tell(self, room: str, event: str, news: object) -> None:
        self.to(channel(room)).emit(event, _plain(news))

    def _rename(self, person: Person, nick: str) -> None:
        person.nick = nick
        self.to(tabs_of(person.id)).emit("renamed", _plain(person.who))
        for room in person.rooms:
            self._tell(room, "renamed", person.who)
        self.server_side_emit("renamed", person.id, nick)
        self._announce(person)

    def _enter(self, person: Person, room: str) -> None:
        """Put all tabs of a person into a room, and tell the room if they are new there."""
        for tab in person.tabs.values():
            tab.join(channel(room))
        if room not in person.rooms and person.tabs:  # without tabs they went while we asked the store
            person.rooms.add(room)
            if not self.people.is_elsewhere(person.id, room):
                self._tell(room, "arrived", {"room": room, "who": person.who})
                if self.people.is_elsewhere(person.id):
                    self.in_(tabs_of(person.id)).sockets_join(channel(room))
                    self.server_side_emit("entered", person.id, room)
            self._announce(person)

    async def _join(self, person: Person, room: str) -> Answer:
        await self.store.join(room, person.who)
        self._enter(person, room)
        visit = next(v for v in await self.store.visits(person.id, {}) if v.room.id == room)
        return _answer(visit=visit, here=self.people.here(room))


def channel(room: str) -> str:
    """Return the Socket.IO room of a chat room; socket ids are rooms too, so they must never be alike."""
    return f"room:{room}"


def tabs_of(person: str) -> str:
    """Return the Socket.IO room of all tabs of a person, at whatever server."""
    return f"tabs:{person}"


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value)


def _answer(**parts: object) -> Answer:
    return {name: msgspec.to_builtins(part) for name, part in parts.items()}
