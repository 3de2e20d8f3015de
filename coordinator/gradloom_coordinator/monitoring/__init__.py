"""What can be seen of a coordinator from outside: metrics, and the picture of its cluster."""
