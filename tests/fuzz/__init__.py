"""Hostile bytes for all that reads bytes of others: by Hypothesis in the suite, by atheris for as long as wanted."""
