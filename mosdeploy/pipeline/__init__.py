"""One file a verb, named as the verb: read records, call rooms, write records. The only folder
where rooms meet.

In: a `Context` and a record of options. Out: records, which the command line prints. Rooms are
imported inside the verbs, so that `mosdeploy --help` loads next to nothing.
"""
