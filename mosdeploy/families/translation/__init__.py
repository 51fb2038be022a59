"""Translation: an encoder-decoder from sentences to sentences."""
