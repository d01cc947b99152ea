"""The conductor: the one actor per network that starts gates and sentinels, watches them, and knows who is attached.

`gates` starts, wires, leases and restarts the gates, `sentinels` admits sentinels and shares the batches in flight
among them, `requests` holds what users may ask. Open `actor.Conductor` first; faults are handled in `gates`.
"""
