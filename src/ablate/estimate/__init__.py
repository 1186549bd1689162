"""What a run needs, computed from its configuration and a device: memory, seconds, GPU hours, disk. Pure arithmetic.

Nothing here starts an engine or a trainer. Bytes are bytes, GB are 1e9 bytes, GiB are 1024**3 bytes.
"""
