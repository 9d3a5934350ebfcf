"""How an operator's requests reach `gateway.operations`: the control socket now, HTTP in a later issue."""
