"""What an architecture, a search space and a workload of each family are, and what they cost."""
