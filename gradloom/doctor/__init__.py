"""``gradloom doctor``: measures what a cluster stands on, judges it by pure rules, and says how to mend what is wrong.

``facts`` are values, ``measuring`` and ``asking`` fill them, ``rules`` make findings of them and touch nothing.
"""
