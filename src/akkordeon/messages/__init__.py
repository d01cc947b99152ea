"""Messages between actors, and the records that they carry; none holds a graph, a module or a lock.

`batches` has the messages about a batch on its way, `leases` those between the conductor and its gates and sentinels,
`states` what a gate or a sentinel is at one moment, and `reports` what users read. Open `batches.Forward` first: the
life of a batch is drawn there.
"""
