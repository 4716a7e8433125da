"""The command `madang`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import madang
from madang.config import GENERATIONS
from madang.errors import AckTimeout, ConfigError, LocalProtocolError, MadangError

if TYPE_CHECKING:
    from madang.client.emitter import BlockingEmitter, BlockingEmitterTarget
    from madang.contract import Contract

__all__ = ["main"]

Function = TypeVar("Function", bound=Callable[..., Any])

#: Addresses that stand for all of a machine's.
_ALL = ("0.0.0.0", "::")  # noqa: S104

#: What `--version` prints.
_VERSION = f"%(prog)s, version %(version)s ({'compiled' if madang.is_compiled() else 'pure Python'})"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(madang.__version__, prog_name="madang", message=_VERSION)
def main() -> None:
    """Real-time data between a server and all its clients."""


def _options(default_port: int) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for option in (
            click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at."),
            click.option("--port", default=default_port, show_default=True, help="TCP port; 0 for a free one."),
            click.option("--log-level", default="info", show_default=True, help="debug, info, warning or error."),
        ):
            function = option(function)
        return function

    return decorate


@main.command()
@click.argument("target", metavar="MODULE:APP")
@_options(8000)
@click.option("--app-dir", default=".", show_default=True, help="Where MODULE is found.")
@click.option("--root-path", default="", help="The path under which a proxy publishes the server.")
@click.option("--proxy", "proxies", default=None, help='Proxies whose X-Forwarded headers are trusted; "*" for all.')
@click.option("--ssl-certfile", type=click.Path(exists=True), help="TLS certificate.")
@click.option("--ssl-keyfile", type=click.Path(exists=True), help="Its key.")
@click.option(
    "--workers", default=1, type=click.IntRange(min=1), show_default=True, help="How many processes share the port."
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0),
    help="Over how long clients are sent away before a process ends: at once, or 5 s for a worker that is replaced.",
)
@click.option("--health-path", help="A path at which load balancers ask whether clients are taken, as /health.")
@click.option("--webtransport", is_flag=True, help="Listen for WebTransport too, at the UDP port of the same number.")
@click.option("--access-log", is_flag=True, help="Log each HTTP request.")
@click.option("--no-tune", is_flag=True, help="Leave the settings of allocator and garbage collector as they are.")
@click.option(
    "--flash-policy-port",
    type=click.IntRange(0, 65_535),
    help="TCP port of the policy file for Flash films, mostly 843 or 10843; 0 for a free one.",
)
def serve(
    target: str,
    host: str,
    port: int,
    log_level: str,
    app_dir: str,
    proxies: str | None,
    workers: int,
    drain_seconds: float | None,
    health_path: str | None,
    webtransport: bool,
    flash_policy_port: int | None,
    no_tune: bool,
    **options: Any,
) -> None:
    """Serve MODULE:APP, where APP is a Server, io.asgi(...), or any ASGI application.

    \b
    Example: madang serve chat:io --port 8000
    """  # noqa: D301  # click's sign for a line that is not to be wrapped
    sys.path.insert(0, str(Path(app_dir).resolve()))
    _check_target(target)
    # Workers import it themselves.
    app = _load(target) if workers == 1 else target
    options = {name: value for name, value in options.items() if value}
    if proxies is not None:
        options["forwarded_allow_ips"] = proxies
    try:
        madang.serve(
            app,
            host=host,
            port=port,
            workers=workers,
            drain_seconds=drain_seconds,
            health_path=health_path,
            webtransport=webtransport,
            flash_policy_port=flash_policy_port,
            tune=not no_tune,
            log_level=log_level,
            **options,
        )
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@_options(8000)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path.home() / ".madang" / "chat",
    show_default=True,
    help="Where history and files are kept.",
)
@click.option(
    "--generations",
    default=",".join(GENERATIONS),
    show_default=True,
    help="Whose clients may come, as eio4,eio3; all for every one.",
)
@click.option(
    "--workers", default=1, type=click.IntRange(min=1), show_default=True, help="How many processes share the port."
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0),
    help="Over how long clients are sent away before a process ends: at once, or 5 s for a worker that is replaced.",
)
@click.option("--cluster", help="The engine between several machines that share the data, as redis://host:6379.")
def chat(
    host: str,
    port: int,
    log_level: str,
    data: Path,
    generations: str,
    workers: int,
    drain_seconds: float | None,
    cluster: str | None,
) -> None:
    """Run the chat: open the address that it shows in a browser."""
    from madang.apps.chat import create_app

    arguments: dict[str, Any] = {"data_dir": str(data), "cluster": cluster}
    arguments["generations"] = "all" if generations == "all" else _names(generations)
    try:
        # Each worker makes its own, which must not be the first to find a mistake.
        app = create_app(**arguments) if workers == 1 else ("madang.apps.chat:create_app", arguments)
        _announce("courtyard", host, port)
        madang.serve(
            app, host=host, port=port, workers=workers, drain_seconds=drain_seconds, tune=True, log_level=log_level
        )
    except (ConfigError, OSError) as error:
        raise click.ClickException(str(error)) from None


@main.command()
@_options(8000)
@click.option("--lane-ports", default="0", show_default=True, help="Ports of lanes, as 9001-9032; 0 for free ones.")
@click.option(
    "--max-lanes",
    default=32,
    type=click.IntRange(min=1),
    show_default=True,
    help="How many lanes there may be at a time.",
)
@click.option("--measure", is_flag=True, help="Open no page: measure, print a table, and end.")
@click.option(
    "--transports", default="", help="What to measure, as polling,websocket; all that can be without a browser."
)
@click.option("--seconds", default=10.0, show_default=True, help="How long to measure each.")
@click.option("--rate", default=10.0, show_default=True, help="Events in a second.")
@click.option("--size", default=100, show_default=True, help="Characters or bytes of an event.")
@click.option("--delay", default=0.0, show_default=True, help="Milliseconds that a byte takes, one way.")
@click.option("--direction", default="down", show_default=True, help="Where events go: down, up or both.")
@click.option("--binary", is_flag=True, help="Send bytes, not text.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures to a file.")
def lab(host: str, port: int, log_level: str, lane_ports: str, max_lanes: int, measure: bool, **options: Any) -> None:
    """Run the laboratory: see what each transport costs, in a browser."""
    if measure:
        _measure(**options)
        return
    from madang.apps.laboratory import create_app

    ports = _ports(lane_ports)
    try:
        app = create_app(host, lane_ports=ports, max_lanes=max_lanes)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    _announce("laboratory", host, port)
    if port and host == "0.0.0.0" and (address := _own_address()):  # noqa: S104
        click.echo(f"For a phone in the same network: http://{address}:{port}")
    madang.serve(app, host=host, port=port, log_level=log_level)


def _announce(what: str, host: str, port: int) -> None:
    """Say where an application is found; nothing for any free port, which the log will tell.

    Raises:
        ClickException: somebody else is found there.
    """
    if not port:
        return
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1" if host in _ALL else host, port), 1):
        raise click.ClickException(f"port {port} is taken; choose another one with --port")
    shown = "localhost" if host in ("127.0.0.1", *_ALL) else host
    click.echo(f"The {what} is open: http://{shown}:{port}  (Ctrl-C closes it)")


def _own_address() -> str:
    """The address by which others in the network know this machine, as far as it knows that itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks for the way
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _measure(transports: str, seconds: float, output: Path | None, delay: float, **settings: Any) -> None:
    import msgspec

    from madang.apps.laboratory.measure import Measured, measure, table
    from madang.apps.laboratory.protocol import LaboratoryError, Settings

    def tell(measured: Measured) -> None:
        click.echo(table([measured], head=False))

    names = _names(transports) or None
    try:
        wanted = msgspec.convert({**settings, "delayMs": delay}, Settings)
        click.echo(table([]))
        report = asyncio.run(measure(wanted, seconds, names, tell))
    except (LaboratoryError, MadangError, msgspec.ValidationError) as error:
        raise click.ClickException(str(error)) from None
    if output is not None:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def _names(text: str) -> list[str]:
    """The names of "one,two"."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _ports(text: str) -> list[int]:
    """The ports of "9001-9032" or "9001"."""
    first, _, last = text.partition("-")
    try:
        ports = list(range(int(first), int(last or first) + 1))
    except ValueError:
        ports = []
    if not ports or min(ports) < 0 or max(ports) > 65535:
        raise click.BadParameter(f"write it as 9001-9032, not {text!r}", param_hint="--lane-ports")
    return ports


@main.command()
@click.argument("url")
@click.argument("event", required=False)
@click.argument("args", nargs=-1)
@click.option("--namespace", default="/", show_default=True, help="Whose clients, as /chat.")
@click.option("--room", "rooms", multiple=True, help="Only who is in this room; may be given several times.")
@click.option("--except", "excluded", multiple=True, help="But who is in this room; may be given several times.")
@click.option("--volatile", is_flag=True, help="Drop it for clients that can't take it at once.")
@click.option("--server-side", is_flag=True, help="Say it to the servers, not to their clients.")
@click.option("--ack", is_flag=True, help="Wait for the answers, and print each as a line of JSON.")
@click.option("--timeout", default=5.0, show_default=True, help="Seconds to wait: for the engine, and for answers.")
@click.option("--prefix", default="socket.io", show_default=True, help="With what the names of channels begin.")
@click.option("--stdin", is_flag=True, help="Emit once for each line that comes in, its last argument.")
def emit(
    url: str, event: str | None, args: tuple[str, ...], stdin: bool, timeout: float, prefix: str, **how: Any
) -> None:
    """Emit EVENT with ARGS to the clients of the cluster at URL. What is JSON in ARGS is taken as that.

    With --stdin and without EVENT each line is a whole event, as ["headline", "Courtyard opens"].

    \b
    Example: madang emit redis://localhost:6379 headline '{"title": "Courtyard opens"}' --room news
    """  # noqa: D301
    from madang.client.emitter import BlockingEmitter

    if event is None and not stdin:
        raise click.UsageError("name the EVENT, or let --stdin tell it")
    if how["server_side"] and (how["rooms"] or how["excluded"] or how["volatile"]):
        raise click.UsageError("--server-side is for all servers: it goes without --room, --except and --volatile")
    begin = [] if event is None else [event, *map(_value, args)]
    try:
        settings = madang.Cluster(url, prefix=prefix)
        with BlockingEmitter(settings, connect_timeout=timeout, ack_timeout=timeout) as emitter:
            say = _speaker(emitter, **how)
            for line in sys.stdin if stdin else ("",):
                if not stdin:
                    say(begin)
                elif line.strip():
                    say([*begin, _value(line.rstrip("\r\n"))] if begin else _event(line))
    except MadangError as error:
        raise click.ClickException(str(error)) from None


def _speaker(
    emitter: BlockingEmitter,
    namespace: str,
    rooms: tuple[str, ...],
    excluded: tuple[str, ...],
    volatile: bool,
    server_side: bool,
    ack: bool,
) -> Callable[[list[Any]], None]:
    """What says an event, and prints the answers."""
    place = emitter.of(namespace)
    target: BlockingEmitterTarget = place.to(*rooms) if rooms else place
    target = target.except_(*excluded) if excluded else target
    target = target.volatile if volatile else target
    call = place.server_side_call if server_side else target.call
    tell = place.server_side_emit if server_side else target.emit

    def say(data: list[Any]) -> None:
        if not ack:
            tell(*data)
            return
        try:
            answers = call(*data)
        except AckTimeout as late:
            _print(late.received)
            raise
        _print(answers)

    return say


def _print(answers: list[Any]) -> None:
    import msgspec

    for answer in answers:
        click.echo(msgspec.json.encode(answer).decode())  # bytes as base64


def _value(text: str) -> Any:
    """JSON, where it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _event(line: str) -> list[Any]:
    data = _value(line)
    if not (isinstance(data, list) and data and isinstance(data[0], str)):
        raise click.ClickException(f'a line must be an event, as ["headline", 1], not {line.strip()[:80]}')
    return data


def _documenting(function: Function) -> Function:
    for option in (
        click.argument("target", metavar="MODULE:APP"),
        click.option("--app-dir", default=".", show_default=True, help="Where MODULE is found."),
        click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write."),
        click.option("--check", is_flag=True, help="Write nothing; fail if the file is not up to date."),
    ):
        function = option(function)
    return function


@main.command()
@_documenting
@click.option("--title", default="Madang server", show_default=True, help="The application's name.")
@click.option("--release", default="1.0.0", show_default=True, help="The version of what is described.")
def schema(target: str, app_dir: str, output: Path | None, check: bool, title: str, release: str) -> None:
    """Describe the events of MODULE:APP, a Server, as an AsyncAPI 3 document in JSON."""
    from madang.contract import asyncapi

    document = asyncapi.document(_contract(target, app_dir), title, release)
    _write(json.dumps(document, indent=2, ensure_ascii=False) + "\n", output, check)


@main.command()
@_documenting
def types(target: str, app_dir: str, output: Path | None, check: bool) -> None:
    """Write the events of MODULE:APP, a Server, as TypeScript for the typed events of socket.io-client."""
    from madang.contract import typescript

    _write(typescript.declarations(_contract(target, app_dir)), output, check)


def _contract(target: str, app_dir: str) -> Contract:
    from madang.contract import read

    sys.path.insert(0, str(Path(app_dir).resolve()))
    app = _load(target)
    server = app if isinstance(app, madang.Server) else getattr(app, "io", None)
    if not isinstance(server, madang.Server):
        raise click.ClickException(f"{target} is no Server; name the Server that has the handlers")
    try:
        return read(server)
    except LocalProtocolError as error:
        raise click.ClickException(str(error)) from None


def _write(text: str, output: Path | None, check: bool) -> None:
    if output is None:
        if check:
            raise click.UsageError("--check needs --output: the file to look at")
        click.echo(text, nl=False)
    elif not check:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    elif not output.exists() or output.read_text(encoding="utf-8") != text:
        raise click.ClickException(f"{output} is not up to date; write it again without --check")


def _load(target: str) -> Any:
    from madang.faces.target import load

    _check_target(target)
    try:
        return load(target)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


def _check_target(target: str) -> None:
    name, separator, _ = target.partition(":")
    if not separator:
        raise click.UsageError(f"write MODULE:APP, as in {name}:io")
