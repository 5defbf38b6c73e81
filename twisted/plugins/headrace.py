"""The two daemons, as ``twistd`` lists them.

Strings only: looking for plugins must not import the application.
"""

from twisted.application.service import ServiceMaker

buildmaster = ServiceMaker(
    "Headrace buildmaster",
    "buildmaster.service",
    "Plan, queue and dispatch builds, and tell their status.",
    "buildmaster",
)
buildworker = ServiceMaker(
    "Headrace worker",
    "worker.service",
    "Run builds for a buildmaster.",
    "buildworker",
)
