"""The interior point method: Newton steps by Riccati sweeps, with a filter."""
