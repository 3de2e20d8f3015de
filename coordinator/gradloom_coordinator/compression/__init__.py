"""How a job's messages are compressed, on the way up and on the way down, and what that came to."""
