"""The report of a study: a page to read, and the same as text."""

from hotbunk.study.report.write import write

__all__ = ["write"]
