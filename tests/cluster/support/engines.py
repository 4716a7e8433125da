"""Redis, PostgreSQL and NATS as processes of the tests, at free loopback ports, in folders of their own.

    with Redis(password="secret") as redis:
        ... redis.url ...

All are as fast as they can be: what they write needs to survive them, not the machine.
"""

import contextlib
import fcntl
import functools
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from pathlib import Path
from typing import Any

import redis

from cluster.support.processes import Engine, Group, awaited, program, quiet_port

__all__ = ["Nats", "Postgres", "Redis", "RedisCluster", "RedisSentinel"]

#: How long a statement may take on a busy machine.
STATEMENT_SECONDS = 30
CACHE = Path(__file__).parents[3] / ".cache"


class Secured(Engine):
    """An engine that may have a password and TLS.

    Args:
        port: where to listen; without it, at a free one.
        host: the address where to listen.
        password: what clients have to know.
        tls: whether clients have to use TLS. The certificate is for localhost and `host`, by the authority in `ca`.
    """

    def __init__(
        self, port: int = 0, *, host: str = "127.0.0.1", password: str | None = None, tls: bool = False
    ) -> None:
        super().__init__(port, host=host)
        self.password = password
        self.tls = tls

    @property
    def ca(self) -> Path:
        """The certificate of the authority that clients have to trust."""
        return self.folder / "ca.pem"

    @property
    def cert(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    def trusting(self) -> ssl.SSLContext:
        """How a client trusts it."""
        return ssl.create_default_context(cafile=self.ca)

    def secured(self, connection: socket.socket) -> socket.socket:
        """A connection, with TLS where it has to be."""
        return self.trusting().wrap_socket(connection, server_hostname=self.host) if self.tls else connection

    @property
    def authority(self) -> "Secured":
        """The engine by whose authority its certificate is: its own, or another one that was started before."""
        return self

    def prepare(self) -> None:
        if not self.tls:
            return
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        ca, ca_key = (str(self.authority.folder / name) for name in ("ca.pem", "ca-key.pem"))
        if self.authority is self:
            who = ["-subj", "/CN=an authority of tests", "-addext", "keyUsage=critical,keyCertSign"]
            _openssl(*new, *who, "-keyout", ca_key, "-out", ca)
        else:
            shutil.copy(ca, self.ca)
        who = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{self.host}"]
        who += ["-addext", "basicConstraints=critical,CA:false", "-CA", ca, "-CAkey", ca_key]
        _openssl(*new, *who, "-keyout", str(self.key), "-out", str(self.cert))


def _openssl(*arguments: str) -> None:
    subprocess.run([program("openssl", "openssl"), *arguments], check=True, capture_output=True, timeout=30)


class Redis(Secured):
    """A Redis of its own.

    Args:
        port: where to listen; without it, at a free one.
        host: the address where to listen.
        password: what clients have to know.
        tls: whether clients have to use TLS.
        persistent: whether each write is on disk before it is answered; else all is gone when it ends.
        options: more settings, as in redis.conf.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        password: str | None = None,
        tls: bool = False,
        persistent: bool = False,
        options: dict[str, str] | None = None,
    ) -> None:
        super().__init__(port, host=host, password=password, tls=tls)
        self.persistent = persistent
        self.options = options or {}

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"{'rediss' if self.tls else 'redis'}://{secret}{self.host}:{self.port}"

    def settings(self) -> dict[str, str]:
        found = {"bind": self.host, "port": str(self.port), "save": "", "appendonly": "no"}
        found |= {"protected-mode": "no"}  # at other addresses than loopback's
        if self.persistent:
            found |= {"appendonly": "yes", "appendfsync": "always"}
        if self.password:
            found |= {"requirepass": self.password, "masterauth": self.password}
        if self.tls:
            found |= {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
            found |= {"tls-ca-cert-file": str(self.ca), "tls-cert-file": str(self.cert), "tls-key-file": str(self.key)}
        return found | self.options

    def command(self) -> list[str]:
        settings = [word for name, value in self.settings().items() for word in (f"--{name}", value)]
        return [program("redis-server", "redis-server"), *settings]

    def greeted(self, connection: socket.socket) -> bool:
        with self.secured(connection) as secured:
            secured.sendall(b"PING\r\n")
            return secured.recv(100).startswith((b"+PONG", b"-NOAUTH"))

    def client(self, **options: Any) -> "redis.Redis[str]":
        """A connection for the test's own questions, which waits for answers."""
        more = {"ssl_ca_certs": str(self.ca)} if self.tls else {}
        return redis.Redis.from_url(self.url, decode_responses=True, **more, **options)

    def ask(self, *command: str | int) -> Any:
        """What it answers to a command."""
        with contextlib.closing(self.client()) as client:
            return client.execute_command(*command)


class RedisCluster(Group):
    """A Redis Cluster of three masters. It takes two seconds to start, because a master waits so long to be sure.

    Attributes:
        members: the three; `url` is the first one's.
    """

    def __init__(self, *, password: str | None = None, tls: bool = False) -> None:
        self.members: list[_ClusterNode] = []
        for bounds in ("0-5460", "5461-10922", "10923-16383"):
            self.members.append(_ClusterNode(self.members, bounds, password=password, tls=tls))

    @property
    def url(self) -> str:
        return self.members[0].url

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [engine.address for engine in self.members]

    def start(self) -> None:
        """Start those that don't run, and wait until all agree."""
        for engine in self.members:
            if engine.process is None:
                engine.start()
        for engine in self.members:
            with contextlib.closing(engine.client()) as client:
                awaited(functools.partial(_agrees, client), "the Redis Cluster is one")

    def owner(self, key: str) -> Redis:
        """The one that has this key."""
        slot = self.members[0].ask("CLUSTER", "KEYSLOT", key)
        return next(engine for engine in self.members if engine.first <= int(slot) <= engine.last)


class _ClusterNode(Redis):
    def __init__(self, nodes: "list[_ClusterNode]", slots: str, *, password: str | None, tls: bool) -> None:
        super().__init__(password=password, tls=tls)
        self._chosen = True  # the others know it
        self.bus_port = quiet_port()
        self.nodes = nodes
        self.slots = slots
        self.first, self.last = map(int, slots.split("-"))
        self.id = f"{self.first:040x}"

    @property
    def authority(self) -> "Secured":
        return self.nodes[0]

    def prepare(self) -> None:
        # Each knows all from the start, so that they need not meet.
        super().prepare()
        lines = ["vars currentEpoch 3 lastVoteEpoch 0"]
        for epoch, node in enumerate(self.nodes, 1):
            flags = "myself,master" if node is self else "master"
            where = f"{node.host}:{node.port}@{node.bus_port}"
            lines.append(f"{node.id} {where} {flags} - 0 0 {epoch} connected {node.slots}")
        (self.folder / "nodes.conf").write_text("\n".join([*lines, ""]))

    def settings(self) -> dict[str, str]:
        found = super().settings()
        found |= {"cluster-enabled": "yes", "cluster-port": str(self.bus_port), "cluster-node-timeout": "2000"}
        if self.tls:
            found |= {"tls-cluster": "yes"}
        return found


def _agrees(client: "redis.Redis[str]") -> bool:
    return "cluster_state:ok" in client.execute_command("CLUSTER", "INFO").split()


class RedisSentinel(Group):
    """A master, its replica, and sentinels that watch over them.

    Args:
        sentinels: how many, from 1.
        password: what clients of master and replica have to know.

    Attributes:
        master: the first master. When it has gone the replica is the master, after two seconds.
        replica: the first replica.
        sentinels: the sentinels.
        name: what the sentinels call the master.
    """

    name = "courtyard"

    def __init__(self, sentinels: int = 1, *, password: str | None = None) -> None:
        at_once = {"repl-diskless-sync-delay": "0"}
        self.master = Redis(password=password, options=at_once)
        of = {"replicaof": f"{self.master.host} {self.master.port}"}
        self.replica = Redis(password=password, options=at_once | of)
        self.sentinels = [_Sentinel(self, sentinels // 2 + 1) for _ in range(sentinels)]
        self.members = [self.master, self.replica, *self.sentinels]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The sentinels'."""
        return [sentinel.address for sentinel in self.sentinels]

    def start(self) -> None:
        """Start all, and wait until the replica follows and the sentinels know of each other."""
        self.master.start()
        self.replica.options["replicaof"] = f"{self.master.host} {self.master.port}"
        self.replica.start()
        with contextlib.closing(self.replica.client()) as client:
            awaited(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        for sentinel in self.sentinels:
            sentinel.start()
        for sentinel in self.sentinels:
            with contextlib.closing(sentinel.client()) as client:
                awaited(functools.partial(self._watches, client), "the sentinels know all")

    def current(self) -> tuple[str, int]:
        """The address of the master, as the sentinels tell it."""
        host, port = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        return host, int(port)

    def _watches(self, client: "redis.Redis[str]") -> bool:
        state = client.sentinel_master(self.name)
        return (state["num-slaves"], state["num-other-sentinels"]) == (1, len(self.sentinels) - 1)


class _Sentinel(Redis):
    def __init__(self, watched: RedisSentinel, quorum: int) -> None:
        super().__init__()
        self.watched = watched
        self.quorum = quorum

    def prepare(self) -> None:
        master, name = self.watched.master, self.watched.name
        lines = [
            f"sentinel monitor {name} {master.host} {master.port} {self.quorum}",
            f"sentinel down-after-milliseconds {name} 1000",
            f"sentinel failover-timeout {name} 2000",
        ]
        if master.password:
            lines.append(f"sentinel auth-pass {name} {master.password}")
        # Sentinels write what they learn into it.
        (self.folder / "sentinel.conf").write_text("\n".join([*lines, ""]))

    def command(self) -> list[str]:
        server = program("redis-server", "redis-server")
        return [server, "sentinel.conf", "--sentinel", "--bind", self.host, "--port", str(self.port)]


class Postgres(Secured):
    """A PostgreSQL of its own. When the tests are root's, the user postgres or nobody runs it.

    Its user is `postgres`, to whom `psql` and `create` need no password.
    """

    farewell = signal.SIGINT  # end, without waiting for clients to go
    #: Where Debian keeps its programs, newest first.
    FOLDERS = tuple(
        f"/usr/lib/postgresql/{version}/bin"
        for version in sorted((int(path.name) for path in Path("/usr/lib/postgresql").glob("[0-9]*")), reverse=True)
    )

    def __init__(
        self, port: int = 0, *, host: str = "127.0.0.1", password: str | None = None, tls: bool = False
    ) -> None:
        super().__init__(port, host=host, password=password, tls=tls)
        if os.geteuid() == 0:
            users = {user.pw_name for user in pwd.getpwall()}
            self.user = "postgres" if "postgres" in users else "nobody"
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        secret = f":{self.password}" if self.password else ""
        return f"postgresql://postgres{secret}@{self.host}:{self.port}/{database}"

    def prepare(self) -> None:
        super().prepare()
        data = self.folder / "data"
        shutil.copytree(self._template(), data)
        data.chmod(0o700)
        way = "hostssl" if self.tls else "host"
        method = "scram-sha-256" if self.password else "trust"
        (data / "pg_hba.conf").write_text(f"local all all trust\n{way} all all all {method}\n")
        if self.tls:
            self.key.chmod(0o600)
        self._give(self.folder)

    def start(self) -> None:
        first = not self._prepared
        super().start()
        if first and self.password:
            self.psql(f"ALTER USER postgres PASSWORD '{self.password}'")

    def command(self) -> list[str]:
        # What is written survives a process that is killed, not a machine.
        settings = {
            "port": str(self.port),
            "listen_addresses": self.host,
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "autovacuum": "off",
            "max_connections": "60",
            "shared_buffers": "16MB",
            "dynamic_shared_memory_type": "mmap",
            "timezone": "UTC",
        }
        if self.tls:
            settings |= {"ssl": "on", "ssl_cert_file": str(self.cert), "ssl_key_file": str(self.key)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [program("postgres", "postgresql", self.FOLDERS), "-D", str(self.folder / "data"), *words]

    def greeted(self, connection: socket.socket) -> bool:
        if self.tls:
            connection.sendall(struct.pack("!ii", 8, 80877103))
            if connection.recv(1) != b"S":
                return False
        words = b"user\0postgres\0database\0postgres\0\0"
        with self.secured(connection) as secured:
            secured.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
            return secured.recv(1) == b"R"  # it asks for a password, or needs none; an error while it is starting up

    def psql(self, command: str, database: str = "postgres") -> str:
        """What it answers to a command, without headings."""
        options = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-X", "-q", "-A", "-t", database]
        where = [program("psql", "postgresql-client", self.FOLDERS), *options, "-v", "ON_ERROR_STOP=1", "-c", command]
        done = subprocess.run(where, capture_output=True, text=True, timeout=STATEMENT_SECONDS, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def create(self) -> str:
        """A new database, which hears nothing of the others. Returns its URL."""
        name = f"test{next(self._numbers)}"
        self.psql(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def _give(self, folder: Path) -> None:
        """Let the user have a folder and all that is in it."""
        if self.user is not None:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, self.user)

    def _template(self) -> Path:
        """An empty database, which is made once for all runs: it takes more than all else."""
        initdb = program("initdb", "postgresql", self.FOLDERS)
        version = re.search(r"(\d+)\S*", subprocess.run([initdb, "-V"], capture_output=True, text=True).stdout)
        assert version is not None
        folder = CACHE / f"postgresql-{version[0]}-{os.geteuid()}"
        CACHE.mkdir(exist_ok=True)
        with (CACHE / "postgresql.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / ".ready").exists():
                shutil.rmtree(folder, ignore_errors=True)
                place = self.folder / "template"
                place.mkdir()
                self._give(self.folder)
                command = [initdb, "-D", str(place), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
                subprocess.run(
                    [*command, "--wal-segsize=1", "--no-sync"],
                    cwd="/",
                    check=True,
                    stdout=subprocess.DEVNULL,
                    **self._who(),
                )
                shutil.copytree(place, folder)
                shutil.rmtree(place)
                (folder / ".ready").touch()
        return folder


class Nats(Secured):
    """A NATS of its own.

    Args:
        port: where to listen; without it, at a free one.
        host: the address where to listen.
        password: a token that clients have to know.
        tls: whether clients have to use TLS.
        jetstream: whether it has streams too, which are on disk.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        password: str | None = None,
        tls: bool = False,
        jetstream: bool = False,
    ) -> None:
        super().__init__(port, host=host, password=password, tls=tls)
        self.jetstream = jetstream

    @property
    def url(self) -> str:
        secret = f"{self.password}@" if self.password else ""
        return f"{'tls' if self.tls else 'nats'}://{secret}{self.host}:{self.port}"

    def command(self) -> list[str]:
        found = [program("nats-server", "nats-server"), "-a", self.host, "-p", str(self.port)]
        if self.password:
            found += ["--auth", self.password]
        if self.tls:
            found += ["--tls", f"--tlscert={self.cert}", f"--tlskey={self.key}"]
        if self.jetstream:
            found += ["--jetstream", "--store_dir", str(self.folder)]
        return found

    def greeted(self, connection: socket.socket) -> bool:
        return connection.recv(5) == b"INFO "
