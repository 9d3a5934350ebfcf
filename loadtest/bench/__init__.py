"""The gateway side by side with Mosquitto and stock amqtt: the same storms, in one run, in CPU time.

A ratio of two servers that took the same storm on the same core within the same minute holds on another machine;
microseconds do not. `python -m loadtest.bench` (or `make bench`) measures; docs/performance.md keeps the result.
"""
