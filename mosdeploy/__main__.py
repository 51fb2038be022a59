"""`python -m mosdeploy`, and what `torchrun -m mosdeploy` starts: the command line."""

from .cli import main

main()
