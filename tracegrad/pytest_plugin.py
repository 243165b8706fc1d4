"""A pytest fixture that checks a user's own function in a line:

    def test_my_function(gradcheck):
        gradcheck(my_function, torch.randn(3, 4), 2.0)
"""

from __future__ import annotations

from typing import Any

from .check import check_function


def pytest_configure(config: Any) -> None:
    """Offer the fixture `gradcheck`; what it checks is said in `check_function`."""
    import pytest

    class Fixtures:
        @pytest.fixture
        def gradcheck(self) -> Any:
            return check_function

    config.pluginmanager.register(Fixtures(), "tracegrad-fixtures")
