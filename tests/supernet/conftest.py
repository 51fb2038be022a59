from supernet_fixtures import archs, prev, space, src

__all__ = ["archs", "prev", "space", "src"]
