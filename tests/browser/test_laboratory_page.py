"""The laboratory's page in Chromium, against `madang lab` as a process; and the page's arithmetic in Node.js."""

import csv
import io
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Download, Page, expect

sys.path.insert(0, str(Path(__file__).parents[1]))

from apps.bench import Bench
from support.chromium import blocking_chromium

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
WITHIN_MS = 45_000
Visit = Callable[..., Page]

#: What the lanes of HTTP have and the others don't.
POLLING = ("shortpolling", "polling", "jsonp")
STREAMS = ("multipart", "iframe", "sse")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with blocking_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("lab")) as bench:
        yield bench
    assert "Traceback" not in bench.log.read_text(), bench.log.read_text()


@pytest.fixture
def visit(chromium: Browser, bench: Bench) -> Iterator[Visit]:
    """Open the page, with these transports chosen. Errors of it, and requests to strangers, fail the test."""
    problems: list[str] = []
    contexts = []

    def enter(*transports: str, locale: str = "en-GB", width: int = 1300, touch: bool = False) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 860},
            locale=locale,
            has_touch=touch,
        )
        contexts.append(context)
        # Settings as the page remembers them; frames of lanes have nothing to remember anything in.
        chosen = json.dumps(json.dumps(transports))
        context.add_init_script(f"""try {{
            localStorage['madang-laboratory:transports'] ??= {chosen};
            localStorage['madang-laboratory:rate'] ??= '5';
        }} catch {{}}""")
        page = context.new_page()
        page.set_default_timeout(WITHIN_MS)
        # The official client leaves it to the window that a WebTransport ends.
        page.on("pageerror", lambda error: "session is closed" in str(error) or problems.append(str(error)))
        # A request that a lane's end has cut off is no mistake; anything else that the browser complains of is.
        page.on(
            "console", lambda said: said.type == "error" and "net::ERR_" not in said.text and problems.append(said.text)
        )
        page.on("request", lambda request: "127.0.0.1" in request.url or problems.append(request.url))
        page.goto(bench.url)
        expect(page.locator(".notice")).to_have_count(0, timeout=WITHIN_MS)
        return page

    yield enter
    for context in contexts:
        context.close()
    assert problems == []


def available(page: Page) -> list[str]:
    boxes = page.locator("[aria-labelledby=transports] input:enabled").all()
    return [box.get_attribute("value") or "" for box in boxes]


def start(page: Page) -> None:
    page.get_by_role("button", name="Start").click()


def slide(page: Page, name: str, places: int) -> None:
    """Move a slider by some places, as the arrow keys do."""
    slider = page.locator(f"input[name={name}]")
    for _ in range(abs(places)):
        slider.press("ArrowRight" if places > 0 else "ArrowLeft")


def measured(page: Page, name: str) -> None:
    """Wait until a lane has a row in the table."""
    expect(page.locator(f"tr[data-row={name}]")).to_be_visible(timeout=WITHIN_MS)


def cell(page: Page, name: str, column: str) -> str:
    return page.locator(f"tr[data-row={name}] td[data-column={column}] > span").first.inner_text()


def number(text: str) -> float:
    match = re.match(r"[\d.,]+", text)
    assert match is not None, text
    return float(match[0].replace(",", ""))


def saved(page: Page, what: str) -> Download:
    with page.expect_download() as download:
        page.locator(f"[data-export={what}]").click()
    return download.value


def test_the_arithmetic() -> None:
    found = subprocess.run(["node", "test/run.mjs"], cwd=ROOT / "browser/laboratory", capture_output=True, check=False)
    assert found.returncode == 0, found.stdout.decode()
    assert re.search(rb"^# pass [1-9]", found.stdout, re.MULTILINE)


def test_all_transports_side_by_side(visit: Visit) -> None:
    page = visit()
    expect(page.locator(".lane[data-lane]")).to_have_count(0)
    expect(page.locator(".lane.absent")).to_contain_text(["FlashSocket"])  # it can't run, but is explained
    title, words = (page.locator(f".lane.absent {part}").bounding_box() for part in ("header", ".words"))
    assert title is not None
    assert words is not None
    assert (title["x"], title["width"]) == (words["x"], words["width"])  # one below the other, and as wide as the card
    assert title["y"] + title["height"] <= words["y"]
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    page.get_by_role("button", name="All", exact=True).click()
    names = available(page)
    assert {"polling", "websocket", *STREAMS} <= set(names)
    expect(page.locator(".lane[data-lane]")).to_have_count(len(names))
    page.get_by_label("Both", exact=True).check()
    start(page)
    for name in names:
        expect(page.locator(f".lane[data-lane={name}]")).to_have_attribute("data-state", "running", timeout=WITHIN_MS)
    for name in names:
        measured(page, name)
        for column in ("p50", "p99", "overheadPerEvent", "cpuPerEvent", "upPerSecond", "downPerSecond"):
            assert number(cell(page, name, column)) > 0, (name, column)
        # Each event took the wire's 100 ms at least; clocks of one machine differ by less than that.
        assert number(cell(page, name, "p50")) > 50
        assert cell(page, name, "lost") == "0"
    assert cell(page, "websocket", "requestsPerMinute") == "0"
    assert cell(page, "websocket", "emptyShare") == "\u2013"
    for name in POLLING:
        if name in names:
            assert number(cell(page, name, "requestsPerMinute")) > 0
    expect(page.locator("td[data-column=overheadPerEvent].best")).not_to_have_count(0)
    expect(page.locator("td[data-column=overheadPerEvent].worst")).not_to_have_count(0)
    page.get_by_role("button", name="Stop").click()
    for name in names:
        expect(page.locator(f".lane[data-lane={name}]")).to_have_attribute("data-state", "stopped")


EARLIER = ("v2-upgrade", "v1-polling", "v0-jsonp", "v0-websocket")


def test_clients_of_earlier_releases(visit: Visit) -> None:
    page = visit("polling", *EARLIER)
    fetched: list[str] = []
    page.on("request", lambda request: "/assets/" in request.url and fetched.append(request.url))
    page.get_by_label("Both", exact=True).check()
    page.get_by_label("Binary", exact=True).check()
    page.get_by_role("button", name="All", exact=True).click()  # of the client of today
    page.get_by_role("button", name="None", exact=True).click()
    chosen = page.locator(".lane[data-lane]")
    expect(chosen).to_have_count(len(EARLIER))
    assert fetched == []
    start(page)
    for name in EARLIER:
        expect(page.locator(f".lane[data-lane={name}]")).to_have_attribute("data-state", "running", timeout=WITHIN_MS)
        measured(page, name)
        assert number(cell(page, name, "p50")) > 50
        for column in ("upPerSecond", "downPerSecond"):
            size = cell(page, name, column)  # of five events in a second, of 100 bytes each
            assert number(size) > (0.5 if size.endswith("kB") else 500), (name, column)
        assert cell(page, name, "lost") == "0"
    assert len(set(fetched)) == 3  # each release once, when a lane wanted it
    assert page.locator("iframe").count() == len(EARLIER)
    assert "io" not in page.evaluate("Object.keys(window)")
    expect(page.locator(".lane[data-lane=v0-jsonp]")).to_contain_text("socket.io-client 0.9.17")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("iframe")).to_have_count(0)


COLOURS = """(canvas) => {
    const ink = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const wanted = {};
    for (const name of ["down", "up", "held", "open"]) {
        ink.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
        ink.fillRect(0, 0, 1, 1);
        wanted[name] = [...ink.getImageData(0, 0, 1, 1).data].slice(0, 3).join();
    }
    const copy = document.createElement("canvas");
    copy.width = canvas.width;
    copy.height = canvas.height;
    const drawn = copy.getContext("2d");
    drawn.drawImage(canvas, 0, 0);
    const { data } = drawn.getImageData(0, 0, copy.width, copy.height);
    const seen = new Set();
    for (let at = 0; at < data.length; at += 4) seen.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
    return Object.keys(wanted).filter((name) => seen.has(wanted[name]));
}"""


def test_the_time_lines_show_what_travels(visit: Visit) -> None:
    page = visit("polling", "websocket")
    page.get_by_label("Both", exact=True).check()
    start(page)
    measured(page, "polling")
    measured(page, "websocket")
    lines = {name: page.locator(f".lane[data-lane={name}] .line canvas") for name in ("polling", "websocket")}
    assert set(lines["polling"].evaluate(COLOURS)) >= {"down", "up"}
    assert set(lines["websocket"].evaluate(COLOURS)) >= {"down", "up", "open"}

    # Pause with the keyboard, go from one thing to the one before, and learn what each is.
    lines["websocket"].focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Live")).to_be_visible()
    told = page.locator(".tip")
    seen = set()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
        expect(told).to_contain_text("connection 0")
        seen.add(told.locator("strong").inner_text())
    assert {"Events down", "Events up"} <= seen
    page.keyboard.press("End")
    expect(told).to_have_count(0)
    expect(page.get_by_role("button", name="Pause")).to_be_visible()

    # Drag to look back.
    box = lines["polling"].bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 200, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, middle, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_changes_apply_live_and_begin_a_new_measurement(visit: Visit) -> None:
    page = visit("websocket")
    start(page)
    measured(page, "websocket")
    slide(page, "delay", 2)
    expect(page.get_by_label("Delay, one way")).to_have_attribute("aria-valuetext", "300 ms")
    row = page.locator("tr[data-row=websocket]")
    expect(row).to_contain_text("by other settings")
    expect(row).to_contain_text("measured for", timeout=WITHIN_MS)
    assert number(cell(page, "websocket", "p50")) > 200

    # A transport that is chosen while others run begins at once; one that is not chosen any more ends, its row stays.
    page.locator(".transports input[value=polling]").check()
    expect(page.locator(".lane[data-lane=polling]")).to_have_attribute("data-state", "running", timeout=WITHIN_MS)
    page.get_by_role("button", name="Remove WebSocket").click()
    expect(page.locator(".lane[data-lane]")).to_have_count(1)
    expect(row).to_be_visible()


def test_the_table_is_sorted_and_saved(visit: Visit, tmp_path: Path) -> None:
    page = visit("polling", "websocket")
    page.get_by_label("Binary").check()
    start(page)
    measured(page, "polling")
    measured(page, "websocket")
    page.get_by_role("button", name="Stop").click()
    names = page.locator("tbody tr")
    expect(names.nth(0)).to_have_attribute("data-row", "polling")
    by = page.get_by_role("button", name="Sort by Requests/min")
    by.click()
    expect(names.nth(0)).to_have_attribute("data-row", "websocket")
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Requests/min")
    by.click()
    expect(names.nth(0)).to_have_attribute("data-row", "polling")

    table = saved(page, "table")
    assert re.fullmatch(r"madang-laboratory-[\dT-]+-table\.csv", table.suggested_filename)
    rows = list(csv.DictReader(io.StringIO(Path(table.path()).read_text("utf-8-sig"))))
    assert [row["transport"] for row in rows] == ["polling", "websocket"]
    for row in rows:
        assert (row["rate_per_second"], row["size"], row["direction"], row["binary"]) == ("5", "100", "down", "true")
        assert 0 < float(row["latency_p50_ms"]) <= float(row["latency_p95_ms"]) <= float(row["latency_p99_ms"])
    assert float(rows[0]["requests_per_minute"]) > float(rows[1]["requests_per_minute"]) == 0

    samples = list(csv.DictReader(io.StringIO(Path(saved(page, "samples").path()).read_text("utf-8-sig"))))
    assert {(sample["transport"], sample["direction"]) for sample in samples} == {
        ("polling", "down"),
        ("websocket", "down"),
    }
    assert all(float(sample["latency_ms"]) > 0 for sample in samples)
    assert len(samples) >= sum(int(row["events"]) for row in rows) > 0

    picture = Path(saved(page, "picture").path()).read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    assert width >= 2400
    assert height >= 800
    assert len(picture) > 50_000


HANGUL = re.compile(r"[\uac00-\ud7a3]")
WORDS = "button, h2, h3, h4, dt, legend, .legend li, .slider label, .foot span"


def test_both_languages(visit: Visit) -> None:
    page = visit("sse", "websocket", locale="ko-KR")
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(page).to_have_title("마당 · 실험실")
    lane = page.locator(".lane[data-lane=websocket]")
    expect(lane.locator("h3")).to_have_text("웹소켓")
    expect(lane).to_contain_text("언제 고르나요")
    page.get_by_role("button", name="시작").click()
    measured(page, "sse")
    expect(page.locator("thead")).to_contain_text("요청/")
    for text in page.locator(WORDS).all_inner_texts():
        assert not text or HANGUL.search(text) or re.fullmatch(r"p\d\d.?|CPU", text.strip()), text
    page.get_by_label("English").check()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(lane.locator("h3")).to_have_text("WebSocket")
    expect(lane).to_contain_text("When to choose it")
    expect(page.locator("thead")).to_contain_text("Requests/")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    assert HANGUL.findall(page.locator("body").inner_text()) == list("한국어")
    page.reload()
    expect(page.get_by_role("button", name="Start")).to_be_enabled()


@pytest.mark.parametrize("locale", ["en-GB", "ko-KR"])
def test_the_table_on_a_phone(visit: Visit, locale: str) -> None:
    page = visit("polling", locale=locale, width=360, touch=True)
    page.get_by_role("button", name=re.compile("Start|시작")).click()
    measured(page, "polling")
    name = page.locator("tr[data-row=polling] th").bounding_box()
    assert name is not None
    assert name["width"] > 80  # words stay whole: Korean may be broken after each letter
    assert name["height"] < 90


def test_a_phone(visit: Visit) -> None:
    page = visit("polling", "websocket", width=360, touch=True)
    start(page)
    measured(page, "polling")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    dock = page.locator(".dock").bounding_box()
    assert dock is not None
    assert dock["y"] + dock["height"] == pytest.approx(860, abs=1)  # at hand, wherever one has scrolled
    page.get_by_label("In brief").check()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    line = page.locator(".lane[data-lane=polling] .line canvas")
    line.scroll_into_view_if_needed()
    line.tap()
    expect(page.get_by_role("button", name="Live")).to_be_in_viewport()


CONTRAST = """() => {
    const ink = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const light = (name) => {
        ink.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
        ink.fillRect(0, 0, 1, 1);
        const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = [...ink.getImageData(0, 0, 1, 1).data].map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
    const pairs = [["--on-accent", "--accent", 4.5], ["--accent", "--accent-soft", 4.5], ["--up", "--paper", 4.5],
                   ["--danger", "--paper", 4.5], ["--warn-ink", "--warn-ground", 4.5], ["--quiet", "--sunken", 4.5]];
    for (const ground of ["--ground", "--paper", "--raised"]) {
        for (const text of ["--ink", "--quiet", "--accent"]) pairs.push([text, ground, 4.5]);
    }
    for (const mark of ["--down", "--up", "--beat", "--ask", "--empty", "--open"]) pairs.push([mark, "--raised", 3]);
    return pairs.filter(([a, b, least]) => ratio(a, b) < least).map(([a, b]) => `${a} on ${b}: ${ratio(a, b)}`);
}"""


def test_contrast_light_and_dark(visit: Visit) -> None:
    page = visit("websocket")
    assert page.evaluate(CONTRAST) == []
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate(CONTRAST) == []
