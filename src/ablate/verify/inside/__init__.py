"""What runs inside the sandbox: standard library only, imports nothing of ablate, never sees an expected output."""
