"""Training: of a supernet by the sandwich rule, or of one subnet alone."""
