"""Decides who computes what: values in, values out. No I/O, no clock, no arrays."""
