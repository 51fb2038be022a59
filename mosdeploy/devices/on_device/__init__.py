"""What is copied to a device and runs there: standard library and numpy alone."""
