"""nginx and HAProxy as processes of the tests: their own configuration, free ports, in the foreground.

What they are made of besides their sites is as Debian installs it.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

START_SECONDS = 20

#: Debian's /etc/nginx/nginx.conf, as installed, with paths that are the tests' own.
NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    access_log {folder}/access.log;
    gzip on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
{sites}
}}
"""

#: Debian's /etc/haproxy/haproxy.cfg, as installed: what is not about the process itself.
HAPROXY = """
global
    maxconn 2000

defaults
    mode http
    option dontlognull
    timeout connect 5000
    timeout client  50000
    timeout server  50000
{sites}
"""


def program(name: str) -> str:
    """The path of a proxy. Without it tests are skipped on a developer's machine, and fail where `CI` is set."""
    # Debian keeps it where not everybody looks.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = f"{name} is needed, and is not installed (Debian: nginx-light haproxy)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class ProxyProcess:
    """A proxy with all the sites that the tests want, each on a port of its own.

    Args:
        command: what starts it in the foreground.
        ports: the sites' ports by name; it is started when all are open.
        logs: files that it writes to.
    """

    def __init__(self, command: list[str], ports: Mapping[str, int], logs: list[Path]) -> None:
        self.command = command
        self.ports = ports
        self.logs = logs

    def __getitem__(self, site: str) -> int:
        return self.ports[site]

    @property
    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.logs if path.exists())

    def __enter__(self) -> Self:
        with self.logs[0].open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        for port in self.ports.values():
            while not _listens(port):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise RuntimeError(f"{self.command[0]} did not start:\n{self.log}")
                time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(names: Mapping[str, str]) -> dict[str, int]:
    """A free port for each, all different."""
    with contextlib.ExitStack() as stack:
        probes = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names}
        return {name: probe.getsockname()[1] for name, probe in probes.items()}


def nginx(folder: Path, sites: Mapping[str, str]) -> ProxyProcess:
    """nginx with some sites; in the text of each, PORT is its port."""
    ports = _free_ports(sites)
    text = "\n".join(site.replace("PORT", str(ports[name])) for name, site in sites.items())
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(user=user, folder=folder, sites=text))
    command = [program("nginx"), "-c", str(config), "-p", str(folder), "-e", str(folder / "error.log")]
    return ProxyProcess(command, ports, [folder / "output.log", folder / "error.log"])


def haproxy(folder: Path, sites: Mapping[str, str]) -> ProxyProcess:
    """HAProxy with some sites; in the text of each, PORT is its port."""
    ports = _free_ports(sites)
    text = "\n".join(site.replace("PORT", str(ports[name])) for name, site in sites.items())
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(sites=text))
    return ProxyProcess([program("haproxy"), "-db", "-f", str(config)], ports, [folder / "output.log"])
