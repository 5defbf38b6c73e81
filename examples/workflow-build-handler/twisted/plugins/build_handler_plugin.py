"""Where Twisted's plug-in system finds the workflows."""

from build_handler.handler import BuildHandler
from build_handler.update import Update

from buildmaster.orchestration.interface import Workflows

workflows = Workflows(BuildHandler, Update)
