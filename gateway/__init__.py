"""A self-hosted MQTT device gateway. Start reading at `gateway.app`; docs/architecture.md is the map."""

__version__ = "0.1.0"
