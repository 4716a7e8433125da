"""The loop that all fuzz targets share.

A target is a function of bytes. It may raise what it declares, must not raise anything else, nor take long:

    from harness import run

    def target(data: bytes) -> None:
        decode(data)

    if __name__ == "__main__":
        run(target, seeds=[b"40", b'42["event"]'], allowed=(RemoteProtocolError,))

Checks of properties are plain `assert` statements in the target. Run it as

    python fuzz/fuzz_ws.py                          with atheris, if installed: libFuzzer's options apply
    python fuzz/fuzz_ws.py --seconds 20 --seed 1    with the loop below: needs nothing, repeatable
    python fuzz/fuzz_ws.py --input 0081             once, to look at a finding

The loop mutates the seeds. Where `sys.monitoring` exists (Python 3.12), an input that reaches a line of
`madang` that none reached before joins the seeds. A finding is printed as hex with its traceback, and the
exit status is 1.
"""

import argparse
import random
import sys
import time
import traceback
from collections.abc import Callable

SLOW_SECONDS = 5.0  # one input that takes longer is a finding
LONGEST = 4096  # bytes: inputs are cut to this
INTERESTING = [0, 1, 0x7D, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0xC0, 0xC1, 0xED, 0xF0, 0xFE, 0xFF]


def run(target: Callable[[bytes], None], seeds: list[bytes], allowed: tuple[type[BaseException], ...] = ()) -> None:
    """Fuzz `target` as the command line says, then exit: 0 if nothing was found, 1 with a finding.

    Args:
        target: called with each input.
        seeds: inputs to begin with; each is run as it is first.
        allowed: the exceptions that the target may raise.
    """
    parser = argparse.ArgumentParser(description="Fuzz one target; see fuzz/harness.py.")
    parser.add_argument("--seconds", type=float, help="how long the built-in loop runs (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="makes the built-in loop repeatable")
    parser.add_argument("--input", help="run this one input, in hex")
    options, rest = parser.parse_known_args()
    if options.input is not None:
        sys.exit(_found(target, bytes.fromhex(options.input), allowed))
    if options.seconds is None:
        _try_atheris(target, seeds, allowed, rest)
    sys.exit(_loop(target, seeds, allowed, options.seconds or 20.0, options.seed))


def mutate(data: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    """Return `data` with one to six random changes; pieces of other `seeds` may be among them."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(9)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = rng.choice(INTERESTING)
        elif kind == 2 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 3:
            del out[at : at + rng.choice((1, 2, 4, 16))]
        elif kind == 4:
            out[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))
        elif kind == 5:
            out[at:at] = out[at : at + rng.choice((2, 8, 32, 128))] * rng.choice((1, 1, 3))
        elif kind == 6:
            other = rng.choice(seeds)
            start = rng.randrange(len(other) + 1)
            out[at:at] = other[start : start + rng.choice((2, 8, 32, 200))]
        elif kind == 7:
            del out[at:]
        else:
            out += rng.choice(seeds)[1:]
    return bytes(out[:LONGEST])


def _found(target: Callable[[bytes], None], data: bytes, allowed: tuple[type[BaseException], ...]) -> int:
    """Run one input; print it and return 1 if it is a finding."""
    before = time.perf_counter()
    try:
        target(data)
    except allowed:
        pass
    except Exception:
        traceback.print_exc()
        print(f"FINDING --input {data.hex()}", flush=True)
        return 1
    took = time.perf_counter() - before
    if took > SLOW_SECONDS:
        print(f"FINDING (took {took:.1f} s) --input {data.hex()}", flush=True)
        return 1
    return 0


def _loop(
    target: Callable[[bytes], None],
    seeds: list[bytes],
    allowed: tuple[type[BaseException], ...],
    seconds: float,
    seed: int,
) -> int:
    rng = random.Random(seed)
    pool = list(seeds)
    lines = _watch_lines()
    for data in seeds:
        if _found(target, data, allowed):
            return 1
    reached = len(lines)
    until = time.monotonic() + seconds
    runs = 0
    while runs % 64 or time.monotonic() < until:
        data = mutate(rng.choice(pool), pool, rng)
        runs += 1
        if _found(target, data, allowed):
            return 1
        if len(lines) > reached:
            reached = len(lines)
            pool.append(data)
    print(f"{runs} inputs, {len(pool) - len(seeds)} new seeds, {reached} lines reached, nothing found")
    return 0


def _watch_lines() -> set[tuple[str, int]]:
    """Return a set that fills with the lines of `madang` that run; it stays empty before Python 3.12."""
    lines: set[tuple[str, int]] = set()
    if sys.version_info >= (3, 12):
        monitoring = sys.monitoring

        def line(code: object, number: int) -> object:
            name = str(getattr(code, "co_filename", ""))
            if "madang" in name:
                lines.add((name, number))
            return monitoring.DISABLE  # each line reports once, and costs nothing afterwards

        monitoring.use_tool_id(monitoring.COVERAGE_ID, "fuzz")
        monitoring.register_callback(monitoring.COVERAGE_ID, monitoring.events.LINE, line)
        monitoring.set_events(monitoring.COVERAGE_ID, monitoring.events.LINE)
    return lines


def _try_atheris(
    target: Callable[[bytes], None],
    seeds: list[bytes],
    allowed: tuple[type[BaseException], ...],
    arguments: list[str],
) -> None:
    """Hand over to atheris and do not come back, if it is installed."""
    try:
        import atheris
    except ImportError:
        return

    def guarded(data: bytes) -> None:
        try:
            target(data)
        except allowed:
            pass

    for data in seeds:
        guarded(data)
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *arguments], guarded)
    atheris.Fuzz()
