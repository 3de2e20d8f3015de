"""Who calls the coordinator, and what they may do.

``table.py`` says which role each method needs, ``identity.py`` who somebody is and whether that suffices, ``rates.py``
how much of it at a time, ``ownership.py`` whose a worker's name is: all four are pure. ``guard.py`` stands before every
method and asks them.
``watched_tokens.py`` reads the file of tokens again when it changes, ``audit.py`` keeps who has changed what.
"""
