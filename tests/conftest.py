"""What holds for every test."""

from hypothesis import settings

# The same examples on every machine and in every run, and no failure because a machine was busy.
settings.register_profile("gradloom", derandomize=True, deadline=None)
settings.load_profile("gradloom")
