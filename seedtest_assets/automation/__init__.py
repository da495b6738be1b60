"""What runs, when, and how it fails."""
