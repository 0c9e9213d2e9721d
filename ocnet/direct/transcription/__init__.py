"""From a problem to a nonlinear program: what it must satisfy, its variables, rows and start."""
