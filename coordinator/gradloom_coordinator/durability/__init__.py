"""What outlives a coordinator: the database, checkpoints, models, and going on from them."""
