"""Packages of an extra."""

import pytest

from hotbunk.errors import ConfigError
from hotbunk.extras import needs


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ConfigError, match=r"needs absent_package; get it with: pip install 'hotbunk\[study\]'"):
        needs("json", "absent_package")
