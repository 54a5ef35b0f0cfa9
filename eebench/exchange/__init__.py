"""Numbers that change hands: predictions in and out, submissions written, verified and ranked.

Importing this costs nothing; what a function needs is loaded when it is called.
"""
