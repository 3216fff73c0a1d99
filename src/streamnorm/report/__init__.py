"""What data looks like, and what follows from it: descriptions, advice, drift."""
