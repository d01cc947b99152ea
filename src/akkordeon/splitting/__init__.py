"""Cuts an existing model into gates (the compiler; engines are the runtime); open `split` first.

`following` writes the forward of a model down as a `Program`, `pieces` cuts a program and runs its parts as modules,
`places` and `balance` decide where to cut. `untie` gives shared parameters a copy for each user.
"""

from akkordeon.splitting.split import split, untie

__all__ = ["split", "untie"]
