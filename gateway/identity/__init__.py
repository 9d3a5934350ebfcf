"""Who is it? SAS tokens and X.509 certificates. Pure: no clock, no I/O."""
