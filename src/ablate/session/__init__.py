"""Everything that one run holds open, and what the loop does with it."""

from ablate.session.open import open_session
from ablate.session.session import Session
from ablate.session.state import RunState
from ablate.session.under_way import UnderWay

__all__ = ["RunState", "Session", "UnderWay", "open_session"]
