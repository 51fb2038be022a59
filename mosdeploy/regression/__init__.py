"""Small regression models that rooms share."""
