"""Atropos (atroposlib 0.4.0): our problems as an environment, and a run that takes its groups from a run-api server."""
