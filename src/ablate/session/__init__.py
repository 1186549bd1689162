"""Everything that one run holds open, and what the loop does with it."""

from ablate.session.open import open_session
from ablate.session.session import Session
from ablate.session.state import RunState

__all__ = ["RunState", "Session", "open_session"]
