"""What holds for all tests."""

from hypothesis import settings

# Time is measured by benchmarks: a machine may be busy.
settings.register_profile("madang", deadline=None)
settings.load_profile("madang")
