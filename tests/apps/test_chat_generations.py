"""Clients of every generation in one room of the chat, by the program that `docs/how-to/old-clients.md` shows."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apps.conftest import Arrive
from apps.courtyard import WITHIN
from madang.apps.chat import create_app
from madang.faces.uvicorn import serve_async
from support.npm import NODE, installed

pytestmark = pytest.mark.node

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "old-clients.md"
CLIENTS = ["socket.io-client-2.5.0", "socket.io-client-1.7.4", "socket.io-client-0.9"]

#: Run the program once with each client, under a name of its own; and one more client, which brings nothing.
PLAY = """
const [program, url, ...packages] = process.argv.slice(1);
const tell = (who) => ({ log: (said) => process.stdout.write(JSON.stringify([who, said]) + "\\n") });
for (const name of packages) {
  const own = program.replace("http://127.0.0.1:8000", url).replaceAll("Kiosk", name)
    .replace("this-kiosk", name.replaceAll(".", "-"));
  new Function("require", "console", own)(() => require(name), tell(name));
  const guest = require(name).connect(url, { forceNew: true, "force new connection": true });
  guest.on("connect", () => guest.emit("rename", { nick: `guest ${name}` }, (answer) => {
    tell(`guest ${name}`).log(answer.me.nick);
    guest.emit("history", { room: "madang" }, (page) => tell(`guest ${name}`).log(page.messages[0].text));
  }));
}
"""


@pytest.fixture
async def url(tmp_path: Path, static: Path) -> AsyncIterator[str]:
    app = create_app(tmp_path / "data", generations="all", static=static)
    async with serve_async(app) as port:
        yield f"http://127.0.0.1:{port}"


async def test_old_clients_talk_with_each_other_and_with_one_of_today(arrive: Arrive, url: str) -> None:
    [program] = re.findall(r"^```js\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    node = await asyncio.to_thread(installed)
    mina = await arrive("Mina")
    await mina.ask("join", room="madang")
    await mina.say("madang", "열었어요 😀", "key-0001")
    play = await asyncio.create_subprocess_exec(
        node, "-e", PLAY, "--", program, url, *CLIENTS, cwd=NODE, stdout=asyncio.subprocess.PIPE
    )
    heard: dict[str, list[str]] = {}

    async def listen(*said: str) -> None:
        """Read what they print, until each program has printed all of this, and each guest its two lines."""
        assert play.stdout is not None
        async with asyncio.timeout(4 * WITHIN):
            while not all(
                set(said) <= set(heard.get(name, ())) and len(heard.get(f"guest {name}", ())) == 2 for name in CLIENTS
            ):
                who, line = json.loads(await play.stdout.readline())
                heard.setdefault(who, []).append(line)

    try:
        await listen("delivered")
        asked = await mina.hears("message", len(CLIENTS))
        assert {(one["author"]["nick"], one["text"]) for one in asked} == {
            (name, "Who is open today? 오늘 열어요?") for name in CLIENTS
        }
        here = (await mina.ask("join", room="madang"))["here"]
        assert [who["nick"] for who in here] == ["Mina", *sorted(CLIENTS)]
        for name in CLIENTS:
            assert any(line.startswith("here: Mina") and name in line for line in heard[name])
        # What is said in the room by anyone reaches the others, whatever they speak.
        await mina.say("madang", "네, 열었어요 😀 \u2028 é", "key-0002")
        await listen("Mina: 네, 열었어요 😀 \u2028 é")
        for name in CLIENTS:
            told = [line for other in CLIENTS for line in heard[other] if line.startswith(f"{name}: ")]
            assert all(line.endswith("오늘 열어요?") for line in told)
            assert f"{name}: Who is open today? 오늘 열어요?" not in heard[name]
        assert sum(": Who is open" in line for name in CLIENTS for line in heard[name]) >= len(CLIENTS) - 1
        # Who brought nothing has taken a name, and has read what was said before.
        for name in CLIENTS:
            assert heard[f"guest {name}"] == [f"guest {name}", "열었어요 😀"]
    finally:
        play.kill()
        await play.wait()
