"""The policy laboratory: the real scheduler under a virtual clock, on machines whose speed follows a trace.

``gradloom simulate`` runs it. Nothing here is part of a running cluster.
"""
