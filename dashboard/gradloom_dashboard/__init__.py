"""The control room: a web page that shows and steers a live cluster.

It speaks only gRPC, through ``gradloom.Client``: no database, no Prometheus, and the browser asks no other host.
One ``Feed`` in the process watches the cluster and tells every open page; pages hold elements and nothing else.
``series``, ``story``, ``charts``, ``lanes`` and ``fields`` are pure.
"""
