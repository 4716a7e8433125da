# Namespaces as classes: each has its own handlers, rooms and middleware, over one connection.
#
#   npm install --prefix examples                            # once: the official browser client
#   madang serve namespaces_class:app --app-dir examples     # or: python examples/namespaces_class.py
#
# Then open http://127.0.0.1:8000 in two windows.

from pages import page

from madang import AckTimeout, ConnectionRefused, Namespace, Server, Socket, serve

io = Server()


class Poll(Namespace):
    """Everyone is asked, and the answers are counted."""

    async def on_ask(self, socket: Socket, question: str) -> None:
        try:
            votes = await self.timeout(10).call("vote", question)  # one answer from each client, in a list
        except AckTimeout as late:
            votes = late.received  # not all answered
        self.emit("result", votes)

    def on_disconnect(self, socket: Socket, reason: str) -> None:
        print(socket.id, "left the poll:", reason)


class Admin(Namespace):
    """Only for those who know the word."""

    def __init__(self, poll: Poll) -> None:
        super().__init__("/admin")
        self.poll = poll
        self.use(self.check)
        self.on("end poll", self.end_poll)  # a name that no method can have

    def check(self, socket: Socket) -> None:
        if socket.handshake.auth.get("password") != "open sesame":
            raise ConnectionRefused("only for administrators")

    def end_poll(self, socket: Socket) -> int:
        clients = list(self.poll.sockets.values())  # a copy: the mapping changes while they leave
        for client in clients:
            client.disconnect()
        return len(clients)


poll = Poll("/poll")
io.register(poll)
io.register(Admin(poll))
app = io.asgi(page("namespaces_class"))

if __name__ == "__main__":
    serve(app)
