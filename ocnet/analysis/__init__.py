"""Analyses of problems, controls and networks: numbers and tables, no pictures."""
