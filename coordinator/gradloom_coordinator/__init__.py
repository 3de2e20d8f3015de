"""The coordinator: decides who computes what, merges what comes back, and steers each job to its end."""
