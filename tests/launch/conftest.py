from support.plane_fixtures import environment, recipe

__all__ = ["environment", "recipe"]
