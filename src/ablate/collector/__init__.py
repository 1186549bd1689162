"""The collector: a process of the leader's that samples and verifies while the trainer works (``rollout.lag`` above 0).

It holds the client of the engine, the verifier and the decoding of tokens, so that they and the trainer do not wait for
one interpreter lock. It does what the leader asks for, one thing after the other, and ends when the leader ends.
"""

from ablate.collector.leader import Collector, open_collector

__all__ = ["Collector", "open_collector"]
