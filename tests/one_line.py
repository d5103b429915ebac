"""What every refusal must be: one line that begins with what was expected."""

from __future__ import annotations

import pytest


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Check an error's line and hand it on."""
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("expected ")
    return message
