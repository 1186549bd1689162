"""Anyone's results compared: what a file holds, which samples pair, and what the difference is worth.

``formats`` reads the files of other projects, a module each; ``arms`` puts their samples into arrays; ``pairing`` keeps
what pairs and refuses what does not; ``numbers`` computes; ``text`` and ``document`` print. No trainer or engine is
imported.
"""
