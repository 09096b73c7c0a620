"""Usage: who may use how much, what it costs, and the hard stop."""
