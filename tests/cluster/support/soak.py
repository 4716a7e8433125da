"""Clients that say and hear numbers for a while, and who looks at what they have heard.

Each number is said once by each who speaks: servers, of which each counts by itself (`soaked.Voice`), and clients,
which say a number again until it is confirmed. Whatever is missing, comes twice, or comes too late has to be explained
by what was told: `check` finds what is not.
"""

import asyncio
import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import madang

__all__ = ["Allowed", "Findings", "Participant", "Story", "check", "notes_in", "until"]

#: What is waited for comes within it, on a busy machine too.
PATIENCE = 60.0
#: How exact the times are that are compared (seconds).
SLACK = 1.0


@dataclass
class Story:
    """What a client has seen.

    Attributes:
        name: who it is.
        heard: when, who has said it, which number, and when it was said.
        turns: when it was connected, and whether with all that it had missed.
        ends: when it was disconnected, and why.
        refused: when it could not connect, and why.
        confirmed: how many of its own numbers have been confirmed: all below.
        doubtful: its numbers that had to be said again.
    """

    name: str
    heard: list[tuple[float, str, int, float]] = field(default_factory=list)
    turns: list[tuple[float, bool]] = field(default_factory=list)
    servers: list[tuple[float, str]] = field(default_factory=list)
    ends: list[tuple[float, str]] = field(default_factory=list)
    refused: list[tuple[float, str]] = field(default_factory=list)
    confirmed: int = 0
    doubtful: set[int] = field(default_factory=set)


class Participant:
    """A client of ours that says numbers and hears those of all.

    Attributes:
        story: what it has seen.
        client: the client.
        slowest: how long it has taken at most until a number was confirmed at once (seconds).
    """

    def __init__(self, name: str, url: str, *transports: str, pause_seconds: float = 0.1, **settings: Any) -> None:
        self.story = Story(name)
        self.slowest = 0.0
        self._pause_seconds = pause_seconds
        quick = {"reconnection_delay_seconds": 0.1, "reconnection_delay_max_seconds": 0.5}
        self.client = madang.Client(url, transports=list(transports), **{**quick, **settings})
        story = self.story
        self.client.on("n", lambda who, number, at, *_: story.heard.append((time.time(), who, number, at)))
        self.client.on("connect", lambda: story.turns.append((time.time(), self.client.recovered)))
        self.client.on("here", lambda server, *_: story.servers.append((time.time(), server)))
        self.client.on("disconnect", lambda reason: story.ends.append((time.time(), reason)))
        self.client.on("connect_error", lambda error: story.refused.append((time.time(), str(error))))
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.client.connect(retry=True)
        self._task = asyncio.create_task(self._speak())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
        await self.client.close()

    async def _speak(self) -> None:
        story = self.story
        while self._task is not None:
            began = time.monotonic()
            try:
                await self.client.call("say", story.name, story.confirmed, timeout=10)
            except (madang.MadangError, TimeoutError):
                story.doubtful.add(story.confirmed)
                await asyncio.sleep(0.05)
                continue
            if story.confirmed not in story.doubtful:
                self.slowest = max(self.slowest, time.monotonic() - began)
            story.confirmed += 1
            await asyncio.sleep(self._pause_seconds)

    async def silence(self) -> None:
        """Say no more, when the last number is confirmed."""
        task, self._task = self._task, None
        if task is not None:
            await task

    def newest(self) -> dict[str, int]:
        """The highest number that it has heard of each who speaks."""
        found: dict[str, int] = {}
        for _, who, number, _ in self.story.heard:
            found[who] = max(found.get(who, -1), number)
        return found

    def hears(self, since: float, *speakers: str) -> bool:
        """Whether it has heard each of these say something since then."""
        wanted = set(speakers)
        for _, who, _, at in reversed(self.story.heard):
            if at >= since:
                wanted.discard(who)
        return not wanted


def notes_in(folder: Path) -> list[dict[str, Any]]:
    """What the servers have noted that were told to do that there."""
    lines = itertools.chain.from_iterable(path.read_text().splitlines(True) for path in folder.glob("*.jsonl"))
    return [json.loads(line) for line in lines if line.endswith("\n")]  # who was killed may not have ended one


async def until(done: Any, what: str = "", seconds: float = PATIENCE) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Allowed:
    """What explains that something is missing or comes twice, beside clients that begin anew.

    Attributes:
        gaps: whether servers may tell of gaps. That something is missing of what was posted, to them alone, needs no
            leave where clients may lose their connections: nothing of what is said to all goes that way.
        told_late_seconds: how long before the link was known to be down it may have been silent, and how long after the
            gap was told the links of others may be down.
        repeats: whether who comes back while the engine is away may hear again what it has heard.
        deaths: who has been killed, and when: what it has said in the last moment may be lost.
        recovers: whether clients may lose their connections, and come back without loss.
        anew: whether they may begin anew.
    """

    gaps: bool = False
    told_late_seconds: float = 5.0
    repeats: bool = False
    deaths: dict[str, float] = field(default_factory=dict)
    recovers: bool = False
    anew: bool = False


@dataclass
class Findings:
    """What was seen.

    Attributes:
        wrong: what nothing explains.
        counts: how much of what.
    """

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        shown = ", ".join(f"{what}: {count}" for what, count in sorted(self.counts.items()))
        return "\n".join([shown, *self.wrong[:40]])


def check(stories: Iterable[Story], notes: Iterable[dict[str, Any]], allowed: Allowed) -> Findings:
    """Look whether everyone has heard all that was said while they were there, once and in order.

    Args:
        stories: of all clients.
        notes: of all servers.
        allowed: what may have happened.
    """
    stories, notes = list(stories), sorted(notes, key=lambda note: note["at"])
    found = Findings()
    windows = _outages(notes, allowed)
    found.counts["gaps told"] = sum(note["what"] == "gap" for note in notes)
    if not allowed.gaps:
        gaps = [note for note in notes if note["what"] == "gap"]
        found.wrong += [f"a gap was told: {one}" for one in gaps if not (allowed.recovers and "posted" in one["why"])]
    found.wrong += [f"malformed: {note}" for note in notes if note["what"] == "malformed"]
    said = _said(stories, notes)
    doubtful = {(story.name, number) for story in stories for number in story.doubtful}
    found.counts["said"] = sum(map(len, said.values()))
    found.counts["said again"] = len(doubtful)
    for story in stories:
        _check_turns(story, allowed, found)
        _check_story(story, said, doubtful, windows, allowed, found)
    return found


def _outages(notes: list[dict[str, Any]], allowed: Allowed) -> list[tuple[float, float]]:
    """When what was said may be lost, as the servers have told."""
    windows = []
    down: dict[str, float] = {}
    for note in notes:
        if note["what"] == "down":
            down.setdefault(note["who"], note["at"])
        elif note["what"] == "gap":
            since = down.get(note["who"], note["at"])
            windows.append((since - allowed.told_late_seconds, note["at"] + allowed.told_late_seconds))
        elif note["what"] == "up":
            # The gap is told after this, or never.
            down = {who: at for who, at in down.items() if who != note["who"] or note["at"] - at < PATIENCE}
    return windows


def _said(stories: list[Story], notes: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """All that was said for sure, and when, as exactly as that is known."""
    said: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for story in stories:
        for _, who, number, at in story.heard:
            said[who][number] = min(at, said[who].get(number, at))
    counts = {story.name: story.confirmed for story in stories}
    counts |= {note["who"]: note["count"] for note in notes if note["what"] == "silent"}
    for who, numbers in said.items():
        last = 0.0
        for number in range(counts.get(who, max(numbers) + 1)):
            last = numbers.setdefault(number, last)  # nobody has heard it: said after the one before it
    return dict(said)


def _check_turns(story: Story, allowed: Allowed, found: Findings) -> None:
    found.counts["clients"] += 1
    found.counts["connections lost"] += len(story.ends)
    found.counts["recovered"] += sum(recovered for _, recovered in story.turns)
    found.counts["begun anew"] += sum(not recovered for _, recovered in story.turns[1:])
    found.counts["refused"] += len(story.refused)
    if not (allowed.recovers or allowed.anew):
        found.wrong += [f"{story.name} was disconnected: {reason}" for _, reason in story.ends]
        found.wrong += [f"{story.name} could not connect: {error}" for _, error in story.refused]
    if not allowed.anew:
        found.wrong += [f"{story.name} began anew at {at:.2f}" for at, recovered in story.turns[1:] if not recovered]


def _absences(story: Story) -> list[tuple[float, float]]:
    """When a client was away, after which it began anew."""
    absences = []
    for at, recovered in story.turns[1:]:
        if not recovered:
            # The last that it has heard before is the last sure sign of its connection.
            before = [heard for heard, *_ in story.heard if heard < at]
            left = [end for end, _ in story.ends if end <= at]
            absences.append((min(before[-1:] + left[-1:], default=0.0) - SLACK, at + SLACK))
    return absences


def _check_story(
    story: Story,
    said: dict[str, dict[int, float]],
    doubtful: set[tuple[str, int]],
    windows: list[tuple[float, float]],
    allowed: Allowed,
    found: Findings,
) -> None:
    here = story.turns[0][0] + SLACK
    absences = _absences(story)
    heard: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for at, who, number, _ in story.heard:
        heard[who].append((at, number))
    found.counts["heard"] += len(story.heard)
    for who, numbers in said.items():
        seen: dict[int, float] = {}
        highest = -1
        for at, number in heard[who]:
            if number in seen:
                found.counts["twice"] += 1
                if (who, number) not in doubtful and not _may_repeat(story, seen[number], at, allowed):
                    found.wrong.append(f"{story.name} heard {who} {number} twice, the second time at {at:.2f}")
            elif number < highest:
                found.counts["too late"] += 1
                found.wrong.append(f"{story.name} heard {who} {number} after {highest}, at {at:.2f}")
            seen[number] = at
            highest = max(highest, number)
        for number in sorted(numbers.keys() - seen.keys()):
            at = numbers[number]
            if at < here:
                continue
            found.counts["missed"] += 1
            died = allowed.deaths.get(who)
            if died is not None and at >= died - SLACK:
                found.counts["missed, of the dead"] += 1
            elif any(first <= at <= last for first, last in absences):
                found.counts["missed, by who began anew"] += 1
            elif allowed.gaps and any(first <= at <= last for first, last in windows):
                found.counts["missed, with a gap told"] += 1
            else:
                found.wrong.append(f"{story.name} has not heard {who} {number}, said at {at:.2f}")


def _may_repeat(story: Story, first: float, second: float, allowed: Allowed) -> bool:
    """Whether a client may hear something again: at another server after it began anew, or where that is allowed."""
    for back, recovered in story.turns[1:]:
        if not recovered and first <= back <= second:
            return True
        if recovered and allowed.repeats and back - SLACK <= second <= back + SLACK:
            return True
    return False
