"""The nearest rows of queries: exact whatever the shards, approximate where asked for. numpy only, no I/O."""
