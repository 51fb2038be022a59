"""Fixtures of walked run folders."""

from walked_folder import encoder_folder, folder, trained_encoder, walk, walked  # noqa: F401
