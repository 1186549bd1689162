"""Pages of runs: curves, timeline, and a browser of their rollouts. They open from a disk, without a server."""
