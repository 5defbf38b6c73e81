"""The parts of ``python -m benchmarks protocol``; each is an async function."""
