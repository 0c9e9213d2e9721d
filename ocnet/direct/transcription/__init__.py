"""From a problem to a nonlinear program: what is asked of it, its variables, rows and start."""
