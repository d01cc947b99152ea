"""Machines, addresses, secrets, and this machine's share of a Ray cluster; imports neither torch nor Ray."""

from akkordeon.cluster.address import Address, own_address
from akkordeon.cluster.installed import check_ray
from akkordeon.cluster.probe import Answer, Cause, probe
from akkordeon.cluster.tls import Tls
from akkordeon.cluster.tokens import Token, new_token, read_token, token_path

__all__ = [
    "Address",
    "Answer",
    "Cause",
    "Tls",
    "Token",
    "check_ray",
    "new_token",
    "own_address",
    "probe",
    "read_token",
    "token_path",
]
