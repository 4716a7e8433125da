"""The chat in Chromium, as people use it: `madang chat` as a process, and a browser for every person."""

import asyncio
import random
import re
import signal
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

sys.path.insert(0, str(Path(__file__).parents[1]))

from apps.courtyard import Courtyard
from madang.apps.chat.protocol import Who
from madang.apps.chat.store import Store
from support.chromium import blocking_chromium

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NO_WEBSOCKET = "window.WebSocket = class { constructor() { throw new Error('WebSocket is disabled here'); } };"
Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with blocking_chromium() as browser:
        yield browser


@pytest.fixture
def courtyard(tmp_path: Path) -> Iterator[Courtyard]:
    with Courtyard(tmp_path / "data") as courtyard:
        yield courtyard
        assert "Traceback" not in courtyard.log.read_text(), courtyard.log.read_text()


@pytest.fixture
def visit(chromium: Browser, courtyard: Courtyard) -> Iterator[Visit]:
    """Somebody comes in with a browser of their own: `visit("Mina")`. Errors of their page fail the test."""
    problems: list[str] = []
    contexts = []

    def enter(nick: str = "", *, scripts: tuple[str, ...] = (), width: int = 1300, locale: str = "en-GB") -> Page:
        context = chromium.new_context(viewport={"width": width, "height": 800}, locale=locale)
        contexts.append(context)
        for script in scripts:
            context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(courtyard.url)
        if nick:
            page.locator("input[name=nick]").fill(nick)
            page.locator(".welcome button.primary").click()
            expect(page.locator("html")).to_have_attribute("data-connection", "online")
            expect(page.locator("#composer")).to_be_visible()
        return page

    yield enter
    for context in contexts:
        context.close()
    assert problems == []


def say(page: Page, text: str) -> None:
    page.locator("#composer").fill(text)
    page.locator("#composer").press("Enter")


def bubbles(page: Page) -> Locator:
    return page.locator(".message .bubble")


def texts(page: Page) -> list[str]:
    return page.locator(".message:not(.pending) .bubble").all_inner_texts()


def state(page: Page, text: str) -> Locator:
    """The ticks beside a message of one's own."""
    return page.locator(".message.mine", has_text=text).locator(".state")


def remember(courtyard: Courtyard, count: int, nick: str = "Ada", text: str = "message") -> None:
    """Put messages into the store while no server runs."""

    async def add() -> None:
        store = Store(courtyard.data / "chat.db")
        author = Who(f"id-of-{nick}", nick)
        for number in range(count):
            await store.add_message("madang", author, f"{text}-{number:06}".replace(" ", "-"), f"{text} {number}", None)
        await store.close()

    thread = threading.Thread(target=lambda: asyncio.run(add()))  # Playwright has an event loop in this one
    thread.start()
    thread.join()


def picture(path: Path, side: int) -> Path:
    """A PNG of noise, which no compression makes small."""
    noise = random.Random(7)
    rows = b"".join(b"\0" + noise.randbytes(3 * side) for _ in range(side))

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows, 1)) + part(b"IEND", b"")
    )
    return path


def test_two_people_talk_one_without_websocket(visit: Visit) -> None:
    mina = visit("Mina")
    jun = visit("Jun", scripts=(NO_WEBSOCKET,))
    expect(mina.get_by_test_id("badge")).to_contain_text("WebSocket")
    expect(jun.get_by_test_id("badge")).to_contain_text("Polling")
    for page in (mina, jun):
        expect(page.get_by_test_id("badge")).to_contain_text(re.compile(r"\d ms"))
        expect(page.locator(".people li .name")).to_have_text(["Jun", "Mina"])

    mina.locator("#composer").press_sequentially("Hello", delay=20)
    expect(jun.get_by_test_id("typing")).to_have_text("Mina is writing…")
    mina.locator("#composer").press("Enter")
    expect(jun.get_by_test_id("typing")).to_have_text("")
    expect(bubbles(jun)).to_have_text(["Hello"])
    expect(jun.locator(".author")).to_have_text("Mina")
    expect(state(mina, "Hello")).to_have_attribute("data-state", "seen")
    expect(state(mina, "Hello")).to_have_attribute("title", "Seen by Jun")

    for number in range(5):
        say(jun, f"answer {number}")
        say(mina, f"question {number}")
    expect(bubbles(mina)).to_have_count(11)
    expect(bubbles(jun)).to_have_count(11)
    assert texts(mina) == texts(jun)
    expect(mina.get_by_role("log")).to_contain_text("Jun: answer 4")


def test_a_message_nobody_has_seen_has_one_tick(visit: Visit) -> None:
    mina = visit("Mina")
    say(mina, "anyone?")
    expect(state(mina, "anyone?")).to_have_attribute("data-state", "stored")
    visit("Jun")
    expect(state(mina, "anyone?")).to_have_attribute("data-state", "stored")  # a newcomer has read it, if they look
    say(mina, "and now?")
    expect(state(mina, "and now?")).to_have_attribute("data-state", "seen")


def test_the_upgrade_and_a_transport_of_choice(visit: Visit) -> None:
    mina = visit("Mina")
    badge = mina.get_by_test_id("badge")
    expect(badge).to_contain_text("WebSocket")
    badge.click()
    details = mina.locator("#badge-details")
    expect(details).to_contain_text("done after")
    expect(details).to_contain_text(re.compile(r"Session\s*[\w-]{20}"))
    details.get_by_label("Polling").check()
    expect(badge).to_contain_text("Polling")
    say(mina, "over polling")
    expect(bubbles(mina)).to_have_text(["over polling"])
    mina.keyboard.press("Escape")
    expect(details).to_have_count(0)


def test_pictures_and_files(visit: Visit, tmp_path: Path) -> None:
    mina, jun = visit("Mina"), visit("Jun", scripts=(NO_WEBSOCKET,))
    mina.evaluate(
        """() => {
            window.steps = new Set();
            new MutationObserver(() => {
                const bar = document.querySelector(".pending progress");
                if (bar) steps.add(bar.value);
            }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
        }"""
    )
    noise = picture(tmp_path / "noise 마당.png", 800)
    assert noise.stat().st_size > 1_500_000
    mina.get_by_test_id("files").set_input_files(noise)
    shown = jun.locator("button.picture img")
    expect(shown).to_be_visible(timeout=20_000)
    jun.wait_for_function("() => document.querySelector('button.picture img').naturalWidth === 800")
    assert mina.evaluate("steps.size") > 5
    expect(mina.locator(".pending")).to_have_count(0)
    expect(mina.locator("button.picture img")).to_have_count(1)

    jun.locator("button.picture").click()
    box = jun.get_by_role("dialog", name="Picture: noise 마당.png")
    expect(box.locator("figcaption")).to_contain_text("800 × 800")  # noqa: RUF001
    jun.keyboard.press("Escape")
    expect(box).to_have_count(0)
    expect(jun.locator("button.picture")).to_be_focused()

    page = tmp_path / "evil.html"
    page.write_text("<script>document.title = 'evil'</script>")
    jun.get_by_test_id("files").set_input_files(page)
    link = mina.locator("a.attachment")
    expect(link).to_contain_text("evil.html")
    with mina.expect_download() as download:
        link.click()
    assert Path(download.value.path()).read_text() == page.read_text()
    assert download.value.suggested_filename == "evil.html"

    too_large = tmp_path / "large.bin"
    with too_large.open("wb") as file:
        file.truncate(20_000_001)
    mina.get_by_test_id("files").set_input_files(too_large)
    expect(mina.locator(".pending.failed")).to_contain_text("20 MB is the limit")
    mina.locator(".pending.failed").get_by_role("button", name="Discard").click()
    expect(mina.locator(".pending")).to_have_count(0)


def test_files_are_dropped_and_pasted(visit: Visit) -> None:
    mina = visit("Mina")
    give = """(kind) => {
        const files = new DataTransfer();
        files.items.add(new File(["hello"], `${kind}.txt`, { type: "text/plain" }));
        const target = document.querySelector(kind === "drop" ? "main" : "#composer");
        const options = { bubbles: true, cancelable: true };
        if (kind === "drop") {
            target.dispatchEvent(new DragEvent("dragenter", { ...options, dataTransfer: files }));
            target.dispatchEvent(new DragEvent("drop", { ...options, dataTransfer: files }));
        } else target.dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: files }));
    }"""
    mina.evaluate(give, "drop")
    expect(mina.locator("a.attachment .file-name")).to_have_text(["drop.txt"])
    mina.evaluate(give, "paste")
    expect(mina.locator("a.attachment .file-name")).to_have_text(["drop.txt", "paste.txt"])


def test_history_page_by_page(visit: Visit, courtyard: Courtyard) -> None:
    courtyard.stop()
    remember(courtyard, 180)
    courtyard.start()
    mina = visit("Mina")
    expect(bubbles(mina)).to_have_count(50)
    expect(bubbles(mina).last).to_be_in_viewport()
    scroller = mina.locator(".scroller")
    for loaded in (100, 150, 180):
        top = mina.evaluate(
            """() => {
                const scroller = document.querySelector(".scroller");
                scroller.scrollTop = 300;
                const all = [...document.querySelectorAll(".message")];
                const first = all.find((message) => message.getBoundingClientRect().top > 120);
                window.held = first.dataset.id;
                return first.getBoundingClientRect().top;
            }"""
        )
        expect(bubbles(mina)).to_have_count(loaded)
        now = mina.evaluate("document.querySelector(`[data-id='${held}']`).getBoundingClientRect().top")
        assert abs(now - top) < 3, "what was read must stay where it is"
    assert texts(mina) == [f"message {number}" for number in range(180)]
    expect(mina.locator(".before")).to_have_text("This is where Madang 마당 began.")
    expect(mina.locator(".day")).to_have_text(["Today"])

    jun = visit("Jun")
    say(jun, "down here")
    jump = mina.locator(".to-newest")
    expect(jump).to_contain_text("1 new message")
    jump.click()
    expect(bubbles(mina).last).to_be_in_viewport()
    expect(jump).to_have_count(0)
    scroller.evaluate("element => element.scrollTop = 0")
    expect(jump).to_be_visible()
    say(mina, "and here")
    expect(bubbles(mina).last).to_be_in_viewport()


def test_unread_messages_are_counted(visit: Visit) -> None:
    mina, jun = visit("Mina"), visit("Jun")
    mina.get_by_role("button", name="New room").click()
    mina.get_by_role("dialog").locator("input[name=name]").fill("Lunch")
    mina.get_by_role("dialog").locator("input[name=topic]").fill("noodles?")
    mina.get_by_role("dialog").get_by_role("button", name="Create").click()
    expect(mina.locator(".room-title h2")).to_have_text("Lunch")
    expect(jun.locator(".room-row", has_text="Lunch")).to_be_visible()

    say(jun, "one")
    say(jun, "two")
    row = mina.locator(".room-row", has_text="Madang")
    expect(row.locator(".pill")).to_contain_text("2")
    expect(row).to_contain_text("Jun: two")
    expect(mina).to_have_title("(2) Madang")
    mina.reload()
    expect(row.locator(".pill")).to_contain_text("2")
    row.click()
    expect(mina.locator(".new-line")).to_have_text("New since you were away")
    expect(row.locator(".pill")).to_have_count(0)
    expect(mina).to_have_title("Madang")
    expect(state(jun, "two")).to_have_attribute("data-state", "seen")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_server_restart_in_between(visit: Visit, courtyard: Courtyard, how: signal.Signals) -> None:
    mina, jun = visit("Mina"), visit("Jun", scripts=(NO_WEBSOCKET,))
    say(mina, "before")
    expect(bubbles(jun)).to_have_text(["before"])
    expect(mina.locator(".message.pending")).to_have_count(0)
    courtyard.stop(how)
    for page in (mina, jun):
        expect(page.get_by_test_id("banner")).to_be_visible()
    say(mina, "written while away 1")
    say(mina, "written while away 2")
    expect(mina.locator(".message.pending")).to_have_count(2)
    expect(state(mina, "away 1")).to_have_attribute("data-state", "queued")
    remember(courtyard, 3, text="missed")
    courtyard.start()
    for page in (mina, jun):
        expect(page.get_by_test_id("banner")).to_have_count(0, timeout=15_000)
        expect(bubbles(page)).to_have_count(6)
    expected = ["before", "missed 0", "missed 1", "missed 2", "written while away 1", "written while away 2"]
    assert texts(mina) == texts(jun) == expected
    expect(mina.locator(".message.pending")).to_have_count(0)
    say(jun, "after")
    expect(bubbles(mina).last).to_have_text("after")
    for page in (mina, jun):
        page.reload()
        expect(bubbles(page)).to_have_text([*expected, "after"])


def test_writing_while_the_server_restarts_loses_and_doubles_nothing(visit: Visit, courtyard: Courtyard) -> None:
    mina, jun = visit("Mina"), visit("Jun", scripts=(NO_WEBSOCKET,))
    written = []
    for number in range(24):
        written.append(f"text {number}")
        say(mina, written[-1])
        if number in (8, 16):
            courtyard.stop(signal.SIGINT if number == 8 else signal.SIGKILL)
        if number in (11, 19):
            courtyard.start()
            mina.wait_for_timeout(900)
    for page in (mina, jun):
        expect(page.locator(".message:not(.pending) .bubble")).to_have_text(written, timeout=30_000)


def test_a_reload_keeps_what_was_not_sent(visit: Visit, courtyard: Courtyard) -> None:
    mina = visit("Mina")
    say(mina, "first")
    expect(state(mina, "first")).to_have_attribute("data-state", "stored")
    courtyard.stop()
    expect(mina.get_by_test_id("banner")).to_be_visible()
    say(mina, "not sent yet")
    courtyard.start()
    mina.reload()
    expect(bubbles(mina)).to_have_text(["first", "not sent yet"])
    expect(state(mina, "not sent yet")).to_have_attribute("data-state", "stored")


def test_a_taken_name_is_refused(visit: Visit) -> None:
    visit("Mina")
    other = visit()
    other.locator("input[name=nick]").fill("mina")
    other.keyboard.press("Enter")
    expect(other.locator("#welcome-problem")).to_contain_text("has that name already")
    other.locator("input[name=nick]").fill("Mina K.")
    other.keyboard.press("Enter")
    expect(other.locator(".sidebar-foot .me")).to_have_text("Mina K.")
    expect(other.get_by_role("dialog")).to_have_count(0)


def test_both_languages(visit: Visit) -> None:
    mina = visit(locale="ko-KR")
    expect(mina.locator("html")).to_have_attribute("lang", "ko")
    expect(mina.get_by_role("dialog", name="마당에 들어오세요")).to_be_visible()
    mina.locator("input[name=nick]").fill("미나")
    mina.get_by_role("button", name="들어가기").click()
    expect(mina).to_have_title("마당")
    expect(mina.get_by_placeholder("Madang 마당에 보낼 메시지")).to_be_visible()
    say(mina, "안녕하세요 👋")
    expect(mina.locator(".facts time")).to_have_text(re.compile("오전|오후"))
    expect(mina.locator(".day")).to_have_text("오늘")
    mina.get_by_role("button", name="설정").click()
    mina.get_by_role("dialog").get_by_label("English").check()
    expect(mina.locator("html")).to_have_attribute("lang", "en")
    expect(mina.get_by_role("dialog", name="Settings")).to_be_visible()
    expect(mina.locator(".day")).to_have_text("Today")
    mina.reload()
    expect(mina.get_by_role("button", name="New room")).to_be_visible()


def test_an_input_method_s_enter_does_not_send(visit: Visit) -> None:
    mina = visit("미나")
    composer = mina.locator("#composer")
    composer.fill("안녕하세")
    press = """(element, composing) => element.dispatchEvent(new KeyboardEvent("keydown", {
        key: "Enter", bubbles: true, cancelable: true, isComposing: composing, keyCode: composing ? 229 : 13 }))"""
    composer.evaluate(press, True)
    mina.wait_for_timeout(200)
    expect(mina.locator(".message")).to_have_count(0)
    expect(composer).to_have_value("안녕하세")
    composer.evaluate(press, False)
    expect(bubbles(mina)).to_have_text(["안녕하세"])


def test_everything_by_keyboard(visit: Visit) -> None:
    mina = visit()
    keys = mina.keyboard
    expect(mina.locator("input[name=nick]")).to_be_focused()
    keys.type("Mina")
    keys.press("Enter")
    expect(mina.locator("#composer")).to_be_focused()
    keys.type("two")
    keys.press("Shift+Enter")
    keys.type("lines")
    keys.press("Enter")
    expect(bubbles(mina)).to_have_text(["two\nlines"])

    keys.press("Control+k")
    keys.type("lunch")
    keys.press("Enter")
    dialog = mina.get_by_role("dialog", name="New room")
    expect(dialog.locator("input[name=name]")).to_be_focused()
    expect(dialog.locator("input[name=name]")).to_have_value("lunch")
    keys.press("Enter")
    expect(mina.locator(".room-title h2")).to_have_text("lunch")
    expect(mina.locator("#composer")).to_be_focused()

    keys.press("Alt+ArrowDown")
    expect(mina.locator(".room-title h2")).to_have_text("Madang 마당")
    keys.press("Control+k")
    keys.press("ArrowDown")
    expect(mina.locator(".room-row").nth(0)).to_be_focused()
    keys.press("ArrowDown")
    expect(mina.locator(".room-row").nth(1)).to_be_focused()
    keys.press("ArrowUp")
    keys.press("ArrowUp")
    expect(mina.locator("#room-search")).to_be_focused()
    keys.type("mad")
    keys.press("Escape")
    expect(mina.locator("#room-search")).to_have_value("")
    expect(mina.locator("#composer")).to_be_focused()
    keys.press("Tab")  # past the button for sending, which can do nothing now
    expect(mina.get_by_role("button", name="Leave the room")).to_be_focused()
    keys.press("Enter")
    expect(mina.locator(".room-title h2")).to_have_text("lunch")


def test_text_is_text_and_links_are_safe(visit: Visit) -> None:
    mina = visit("<b>Mina</b>")
    evil = "<img src=x onerror=\"document.title='evil'\"> javascript:alert(1) (see https://example.org/a_(b)?q=1&r=2)."
    say(mina, evil)
    bubble = bubbles(mina).first
    expect(bubble).to_have_text(evil)
    assert bubble.locator("img").count() == 0
    links = bubble.locator("a")
    expect(links).to_have_count(1)
    expect(links).to_have_attribute("href", "https://example.org/a_(b)?q=1&r=2")
    expect(links).to_have_attribute("rel", re.compile("noopener"))
    say(mina, "🎉")
    expect(mina.locator(".jumbo")).to_have_text("🎉")


def test_a_narrow_window(visit: Visit) -> None:
    mina = visit("Mina", width=360)
    say(mina, "a-very-long-word-without-any-place-to-break-" * 6)
    expect(bubbles(mina)).to_have_count(1)
    assert mina.evaluate("document.documentElement.scrollWidth") <= 360
    search = mina.locator("#room-search")
    expect(search).not_to_be_visible()
    mina.get_by_role("button", name="Rooms").click()
    expect(search).to_be_visible()
    mina.keyboard.press("Escape")
    expect(search).not_to_be_visible()
    mina.get_by_role("button", name=re.compile("Who is here")).click()
    expect(mina.locator(".people li .name")).to_be_visible()
    mina.locator(".people").get_by_role("button", name="Close").click()
    expect(mina.locator(".people li .name")).not_to_be_visible()


def test_notifications_are_asked_for_on_a_click_and_shown_when_hidden(visit: Visit) -> None:
    double = """
        window.shown = []; window.asked = 0; window.hiddenNow = false;
        window.Notification = class { constructor(title, options) { shown.push(`${title}: ${options.body}`); } };
        Notification.permission = "default";
        Notification.requestPermission = async () => { asked += 1; return "granted"; };
        Object.defineProperty(document, "visibilityState", { get: () => (hiddenNow ? "hidden" : "visible") });
    """
    mina, jun = visit("Mina", scripts=(double,)), visit("Jun")
    assert mina.evaluate("asked") == 0
    mina.get_by_role("button", name="Settings").click()
    mina.get_by_role("switch").click()
    expect(mina.get_by_role("switch")).to_be_checked()
    mina.keyboard.press("Escape")
    say(jun, "in sight")
    expect(bubbles(mina)).to_have_count(1)
    mina.evaluate("hiddenNow = true")
    say(jun, "out of sight")
    mina.wait_for_function("shown.length > 0")
    assert mina.evaluate("[asked, shown]") == [1, ["Jun · Madang 마당: out of sight"]]
    expect(mina).to_have_title("(1) Madang")
    expect(state(jun, "out of sight")).to_have_attribute("data-state", "stored")


CONTRAST = """() => {
    const ink = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = (name) => {
        ink.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
        ink.fillRect(0, 0, 1, 1);
        return [...ink.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (name) => {
        const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = rgb(name).map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
    const pairs = [["--on-accent", "--accent"], ["--mine-ink", "--mine"], ["--warn-ink", "--warn-ground"],
                   ["--on-lantern", "--lantern"], ["--lantern", "--paper"], ["--quiet", "--sunken"],
                   ["--danger", "--raised"], ["--danger", "--paper"], ["--accent", "--accent-soft"]];
    for (const ground of ["--ground", "--paper", "--raised"]) {
        for (const text of ["--ink", "--quiet", "--accent"]) pairs.push([text, ground]);
    }
    return pairs.map((pair) => [pair.join(" on "), ratio(...pair)]).filter(([, found]) => found < 4.5);
}"""


def test_contrast_light_and_dark(visit: Visit) -> None:
    mina = visit("Mina")
    for name in ("Light", "Dark"):
        mina.get_by_role("button", name="Settings").click()
        mina.get_by_role("dialog").get_by_label(name, exact=True).check()
        expect(mina.locator("html")).to_have_attribute("data-theme", name.lower())
        mina.keyboard.press("Escape")
        assert mina.evaluate(CONTRAST) == []
