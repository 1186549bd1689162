"""What a single GPU can show of the GPU path, without vLLM, Transformer Engine or a network."""
