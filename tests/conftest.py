"""Hypothesis profiles: `fast` by default, the same examples every time; `make test` takes `full`."""

import signal

from hypothesis import HealthCheck, settings

_COMMON = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("fast", _COMMON, derandomize=True, max_examples=2)
settings.register_profile("full", _COMMON, derandomize=True, max_examples=15)
settings.register_profile("thorough", _COMMON, derandomize=False, max_examples=1500)
settings.load_profile("fast")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it that runs the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
