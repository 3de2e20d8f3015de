"""Data sets: files at URIs, cut into fixed shards by a manifest, read by workers as numpy arrays."""
