"""What a supervisor and its workers say to each other: one job, then lines. The end of it is the end of the other."""

from __future__ import annotations

import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final

from madang.faces.target import Target

__all__ = ["LISTEN", "LISTENING", "READY", "STOP", "Job", "read_job", "write_job"]

#: A worker has started, and is about to listen.
READY: Final = b"ready"
#: It is to listen.
LISTEN: Final = b"listen"
#: It does.
LISTENING: Final = b"listening"
#: It is to end. Behind it stands how many seconds it has to send its clients away, and 1 if another worker stands in
#: for it, so that it need not listen meanwhile.
STOP: Final = b"stop"

_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker has to know.

    Attributes:
        target: the application.
        path: where modules are found.
        name: what people know it by.
        directory: where the broker between the workers is.
        sockets: the file descriptors at which it listens.
        drain_seconds: over how long it sends its clients away when it is told by a signal to end.
        health_path: where load balancers ask whether it takes clients.
        tune: whether to set its memory for serving.
        options: uvicorn's settings.
    """

    target: Target
    path: list[str]
    name: str
    directory: str
    sockets: list[int]
    drain_seconds: float
    health_path: str | None
    tune: bool
    options: dict[str, Any]


def write_job(job: Job) -> bytes:
    """A job as bytes.

    Raises:
        Exception: there is something in the options that only this process has, as a function without a name.
    """
    data = pickle.dumps(job)
    return _LENGTH.pack(len(data)) + data


def read_job(control: socket.socket) -> Job:
    """Wait for the job.

    Raises:
        ConnectionError: the supervisor is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(control, _LENGTH.size))
    job = pickle.loads(_exactly(control, length))  # noqa: S301  # our own supervisor has written it
    assert isinstance(job, Job)  # noqa: S101
    return job


def _exactly(control: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = control.recv(size - len(data))
        if not part:
            raise ConnectionError("the supervisor is gone")
        data += part
    return bytes(data)
