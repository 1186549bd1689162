"""One trainer each: version, what is called, what is emulated. At most 100 lines."""
