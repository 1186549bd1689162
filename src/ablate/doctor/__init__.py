"""What to run first on a new machine: checks of everything that a run needs, each with its fix."""
