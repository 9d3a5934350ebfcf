"""From a device's publish to the topic of its template: envelope, validation, router, sinks."""
