"""Tests that need a browser are run where there is one; where there is none, the run says that it left them out."""

from typing import Any

import pytest

from tests.browser.chromium import find_chromium

HAS_BROWSER = find_chromium() is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not HAS_BROWSER:
        items[:] = [item for item in items if not item.get_closest_marker("browser")]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not HAS_BROWSER:
        terminalreporter.write_line("no chromium (apt install chromium): the tests of report.html in a browser were left out")
