"""Connections that change hands: from the server that has accepted one to the one that has its session.

What is said over a WebSocket that belongs to another server would pass through two of them for as long as the client
stays. On one machine the connection itself can go there instead, before anything was answered: its file descriptor,
with the bytes that were read of it. Each server listens at a datagram socket in the directory of the cluster.

Source: unix(7), `SCM_RIGHTS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["Handover"]

logger = logging.getLogger("madang")

_ENDING: Final = ".sock"
#: How much may come with a connection. What is larger goes another way.
_MAX_BYTES: Final = 131_072
#: What comes is not passed on to programs that are started, where the system can say so at once.
_NOT_FOR_CHILDREN: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
#: How many connections are taken before others get their turn.
_A_TURN: Final = 16
#: How many may wait for one server: the kernel itself lets ten wait.
_MAX_WAITING: Final = 1024


class Handover:
    """Gives connections to other servers of this machine, and takes theirs.

    Args:
        directory: where the servers of this machine find each other.
        node: with what the ids of our sessions begin.
        loop: the running event loop.
        take: is given each connection that comes, with what was read of it.
    """

    def __init__(
        self,
        directory: str,
        node: str,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[socket.socket, bytes], None],
    ) -> None:
        self._directory = directory
        self._path = self._path_of(node)
        self._loop = loop
        self._take = take
        self._socket: socket.socket | None = None
        self._peers: dict[str, _Peer] = {}

    def _path_of(self, node: str) -> str:
        return os.path.join(self._directory, node + _ENDING)

    def open(self) -> None:
        """Listen, and remove what servers that were killed have left behind.

        Raises:
            OSError: it can't be.
        """
        self._sweep()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            listening.setblocking(False)
            listening.bind(self._path)
        except BaseException:
            listening.close()
            raise
        self._socket = listening
        self._loop.add_reader(listening, self._readable)

    def _sweep(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            for path in Path(self._directory).glob(f"*{_ENDING}"):
                if not path.is_socket():
                    continue
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    with contextlib.suppress(OSError):
                        path.unlink()
                except OSError:  # it is somebody else's
                    continue

    def close(self) -> None:
        """Listen no more."""
        listening, self._socket = self._socket, None
        if listening is not None:
            self._loop.remove_reader(listening)
            listening.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        for peer in list(self._peers.values()):
            peer.close()
        self._peers.clear()

    def give(self, node: str, transport: asyncio.Transport, data: bytes) -> bool:
        """Give a connection to a server.

        Args:
            node: with what the ids of its sessions begin.
            transport: the connection, on which nothing waits to be sent. It is closed here.
            data: what was read of it.

        Returns:
            False where it stays here: the server is not on this machine, or TLS is in the way.
        """
        ours = transport.get_extra_info("socket")
        if (
            self._socket is None
            or ours is None
            or transport.get_extra_info("sslcontext") is not None
            or transport.get_write_buffer_size()
            or len(data) > _MAX_BYTES
        ):
            return False
        peer = self._peers.get(node)
        if peer is None:
            peer = _Peer(self._loop, self._path_of(node))
            if not peer.connect():
                return False
            self._peers[node] = peer
        if peer.give(transport, ours.fileno(), data):
            return True
        if peer.is_gone:
            del self._peers[node]
        return False

    def _readable(self) -> None:
        listening = self._socket
        for _ in range(_A_TURN):
            if listening is None or listening is not self._socket:
                return
            try:
                data, descriptors, _, _ = socket.recv_fds(listening, _MAX_BYTES, 4, _NOT_FOR_CHILDREN)
            except BlockingIOError:
                return
            except OSError as error:
                logger.warning("a connection that another server hands over could not be taken: %s", error)
                return
            if len(descriptors) != 1:
                for descriptor in descriptors:
                    os.close(descriptor)
                continue
            self._take(socket.socket(fileno=descriptors[0]), data)


class _Peer:
    """Another server of this machine."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str) -> None:
        self._loop = loop
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._waiting: deque[tuple[asyncio.Transport, int, bytes]] = deque()
        #: Whether it listens no more.
        self.is_gone = False

    def connect(self) -> bool:
        """Find it; gives whether it is there."""
        try:
            self._socket.setblocking(False)
            self._socket.connect(self._path)
        except OSError:
            self._socket.close()
            return False
        return True

    def give(self, transport: asyncio.Transport, descriptor: int, data: bytes) -> bool:
        """Send it a connection, now or when it has taken those before."""
        if not self._waiting:
            try:
                self._send(transport, descriptor, data)
                return True
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._writable)
            except OSError:
                self._end()
                return False
        elif len(self._waiting) >= _MAX_WAITING:
            return False
        transport.pause_reading()
        self._waiting.append((transport, descriptor, data))
        return True

    def _send(self, transport: asyncio.Transport, descriptor: int, data: bytes) -> None:
        socket.send_fds(self._socket, [data], [descriptor])
        transport.close()  # the other end does not notice: the connection is open as long as somebody has it open

    def _writable(self) -> None:
        while self._waiting:
            transport, descriptor, data = self._waiting[0]
            if not transport.is_closing():
                try:
                    self._send(transport, descriptor, data)
                except BlockingIOError:
                    return
                except OSError:
                    self.close()
                    return
            self._waiting.popleft()
        self._loop.remove_writer(self._socket)

    def close(self) -> None:
        """It is gone, or we are: those who wait for it have to come again."""
        if self._waiting:
            self._loop.remove_writer(self._socket)
        for transport, _, _ in self._waiting:
            transport.abort()
        self._waiting.clear()
        self._end()

    def _end(self) -> None:
        self.is_gone = True
        self._socket.close()
