"""The worker: takes orders from a buildmaster and runs each under a supervisor."""
