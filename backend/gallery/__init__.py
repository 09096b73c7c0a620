"""The gallery: every picture ever made, its index, and what picture files say of themselves."""
