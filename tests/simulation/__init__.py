"""A simulator: the real scheduler and the real worker sessions on a virtual clock and network, from one seed."""
