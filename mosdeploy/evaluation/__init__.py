"""How good a candidate is: its loss on a few validation examples."""
