"""What ``python -m benchmarks queue`` measures, one file for each part of it."""
