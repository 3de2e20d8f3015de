"""The control room: a web page that shows and steers a live cluster.

Nothing is here yet: the name is taken so that the distribution keeps its shape.
"""
