"""What only one notebook needs: its figures and the checkers of its exercises."""
