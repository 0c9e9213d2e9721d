"""Tests of the solvers and their gradients."""
