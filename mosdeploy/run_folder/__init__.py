"""A run folder: its artifacts, what they were made from, and whether they still count."""
