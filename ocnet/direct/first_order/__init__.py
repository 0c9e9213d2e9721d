"""Methods of first order, which vary the control alone."""
