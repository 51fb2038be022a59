"""One file a verb, named as the verb: read records, call rooms, write records."""
