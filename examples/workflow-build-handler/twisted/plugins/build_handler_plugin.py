"""Where Twisted's plug-in system finds the workflow."""

from build_handler.handler import BuildHandler

from buildmaster.orchestration.interface import Workflows

workflows = Workflows(BuildHandler)
