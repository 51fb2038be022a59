"""What is timed on devices, and how its times are kept."""
