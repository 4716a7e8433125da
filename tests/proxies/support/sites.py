"""The sites of both proxies: each is a way to set them up, in front of one of two servers.

The servers: "calm" pings rarely, so that proxies get impatient; "lively" pings each second.
"""

from collections.abc import Mapping
from pathlib import Path

from proxies.support.documented import documented, replaced


def _nginx_plain(port: int, more: str = "", outside: str = "") -> str:
    return f"""
    server {{
        listen 127.0.0.1:PORT;
        {outside}
        location / {{
            proxy_pass http://127.0.0.1:{port};
            {more}
        }}
    }}"""


def _nginx_documented(name: str, port: int, certificate: tuple[Path, Path], more: Mapping[str, str]) -> str:
    key, cert = certificate
    changes = {
        "listen 443 ": "listen 127.0.0.1:PORT ",
        "127.0.0.1:8000": f"127.0.0.1:{port}",
        "example.org.pem": str(cert),
        "example.org.key": str(key),
        "upstream madang": f"upstream {name}",
        "http://madang": f"http://{name}",
        "$connection_upgrade": f"$connection_upgrade_{name}",  # of one name there may be one
        **more,
    }
    return replaced(documented("nginx"), changes)


def nginx_sites(calm: int, lively: int, certificate: tuple[Path, Path]) -> dict[str, str]:
    """What stands in nginx's `http` block."""
    return {
        "default": _nginx_plain(calm),
        "documented": _nginx_documented("documented", calm, certificate, {}),
        "patient": _nginx_documented("patient", lively, certificate, {"75s": "3s"}),
        "impatient": _nginx_documented("impatient", calm, certificate, {"75s": "1s"}),
        "deaf": _nginx_plain(calm, "proxy_ignore_headers X-Accel-Buffering;"),
        "gzip": _nginx_plain(calm, outside="gzip_types *; gzip_proxied any;"),
        "params": _nginx_plain(calm, "proxy_set_header Host $host;"),
    }


def _haproxy_plain(name: str, port: int, *more: str) -> str:
    lines = ["bind 127.0.0.1:PORT", *more, f"server one 127.0.0.1:{port}"]
    return "\n".join([f"listen {name}", *[f"    {line}" for line in lines], ""])


def _haproxy_documented(name: str, port: int, certificate: Path, more: Mapping[str, str]) -> str:
    changes = {
        "bind :443 ": "bind 127.0.0.1:PORT ",
        "127.0.0.1:8000": f"127.0.0.1:{port}",
        "example.org.pem": str(certificate),
        "frontend web": f"frontend web-{name}",
        "backend madang": f"backend {name}",
        **more,
    }
    return replaced(documented("haproxy"), changes)


def haproxy_sites(calm: int, lively: int, certificate: Path) -> dict[str, str]:
    """What stands behind HAProxy's `global` section, and its first `defaults`."""
    compression = (
        "filter compression",
        "compression algo gzip",
        "compression type text/html text/plain text/javascript text/event-stream multipart/x-mixed-replace",
    )
    return {
        # These have the defaults of Debian, because they stand before the documented ones.
        "default": _haproxy_plain("default", calm),
        "closing": _haproxy_plain("closing", calm, "option httpclose"),
        "waiting": _haproxy_plain("waiting", calm, "option http-buffer-request"),
        "compressing": _haproxy_plain("compressing", calm, *compression),
        "documented": _haproxy_documented("documented", calm, certificate, {}),
        "patient": _haproxy_documented("patient", lively, certificate, {"75s": "3s"}),
        "impatient": _haproxy_documented("impatient", calm, certificate, {"75s": "1s"}),
    }
