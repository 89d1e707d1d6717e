"""One line on a terminal that says what is going on; silence in a pipe."""

import sys
import time


class Progress:
    """`progress("building")`, `progress("running", 3, 11)`; a later call replaces the line, `done()` removes it."""

    def __init__(self, *, enabled: bool | None = None) -> None:
        self.enabled = sys.stderr.isatty() if enabled is None else enabled
        self.started = time.monotonic()

    def __call__(self, step: str, done: int | None = None, total: int | None = None) -> None:
        if not self.enabled:
            return
        bar = ""
        if done is not None and total:
            filled = 24 * done // total
            bar = f" [{'#' * filled}{'.' * (24 - filled)}] {done}/{total}"
        elapsed = time.monotonic() - self.started
        print(f"\r\x1b[2K{step}{bar}  {elapsed:.1f} s", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        if self.enabled:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
