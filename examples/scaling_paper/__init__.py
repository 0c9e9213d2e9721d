"""The figures of the depth-scaling paper (Marion, Fermanian, Biau, Vert, JMLR 26, 2025)."""
