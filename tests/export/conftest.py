from networks import space, trained_subnet

__all__ = ["space", "trained_subnet"]
