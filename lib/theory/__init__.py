"""What a loss will do, from the eigenvalues of the data alone."""
