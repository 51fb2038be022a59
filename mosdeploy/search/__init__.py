"""Evolutionary search under limits: candidates, the Pareto front, finalists and the winner."""
