"""What `export` is made of: the job, the choice of a precision, the choice of a runtime."""
