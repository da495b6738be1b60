"""What is in a report: numbers worded and drawn once, for a document that places them."""
