"""The worker: holds shards, computes partial sums on them with numpy, and sends them back."""
