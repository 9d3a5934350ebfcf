"""Where telemetry goes when it leaves the gateway. Each sink implements `gateway.telemetry.router.Sink`."""
