"""The parts of ``python -m benchmarks workflows``."""
