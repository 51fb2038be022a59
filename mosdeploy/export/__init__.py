"""Export: from trained weights to a bundle that runs on a device."""
