"""What trainings share: the data that they read, and one subnet trained alone."""
