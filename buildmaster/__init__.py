"""The buildmaster: plans, queues, dispatches, and tells the truth about status."""
