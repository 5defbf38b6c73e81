"""Where Twisted's plug-in system finds the kind and the callable that performs it."""

from kind_code_import.kind import CodeImport
from kind_code_import.performing import ImportCode

code_import = CodeImport()
import_code = ImportCode()
