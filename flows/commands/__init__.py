"""Commands of `rpe`, by what they are about: arguments in, flow call or read, rows out."""
