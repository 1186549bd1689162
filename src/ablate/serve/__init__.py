"""The vLLM servers of a run: their commands, and a process that keeps those of one node running."""
