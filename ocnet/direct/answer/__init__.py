"""What `solve` answers: the solution, how it ended, and whether it can be believed."""
