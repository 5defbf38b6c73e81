"""The parts of the benchmark ``environments``: for each, ours and what it is beside."""
