"""Hypothesis profiles: `fast` by default, the same examples every time; `make test` takes `full`."""

from hypothesis import HealthCheck, settings

_COMMON = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("fast", _COMMON, derandomize=True, max_examples=2)
settings.register_profile("full", _COMMON, derandomize=True, max_examples=15)
settings.register_profile("thorough", _COMMON, derandomize=False, max_examples=1500)
settings.load_profile("fast")
