"""What the operator is compared with: networks from papers, solvers, fits, guesses."""
