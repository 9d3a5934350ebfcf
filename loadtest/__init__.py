"""A load test of the gateway: many devices at once, and an exact count of what became of each.

`python -m loadtest storm -n 10000 …` opens that many devices, each with its own identity and its own proof of
it, and keeps them open. There is no task for a device: a fixed number of connectors dial one device after the
other, and an admitted device is a socket with a small protocol object.
"""
