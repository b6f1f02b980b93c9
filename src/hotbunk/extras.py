"""Packages that only some commands need, and that come with an extra of hotbunk's."""

from importlib.util import find_spec

from hotbunk.errors import ConfigError

__all__ = ["needs"]


def needs(*packages: str) -> None:
    """Check that packages of the ``study`` extra are there.

    Raises:
        ConfigError: one is not.
    """
    for package in packages:
        if find_spec(package) is None:
            raise ConfigError(f"this needs {package}; get it with: pip install 'hotbunk[study]'")
