"""What the data says, for people: descriptions, advice, comparisons, and pages that show them."""
