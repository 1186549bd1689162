"""Small data sets in every public format that ``ablate.sources`` reads, made here, with every trap of those formats.

    python -m tests.public_sets OUT

The problems are the tiny set's, so that the tiny model can be trained and evaluated on what curation keeps.
"""
