"""Parts of the benchmark of the status."""
