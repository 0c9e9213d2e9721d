"""Optimal control problems and learning problems, written as a user would write them."""
