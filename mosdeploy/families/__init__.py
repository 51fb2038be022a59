"""The kinds of model: one folder of works each, beside its words in `spaces` and `config`."""
