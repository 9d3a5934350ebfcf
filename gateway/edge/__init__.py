"""Where devices meet the gateway: asyncio, sockets, TLS, deadlines, the table of live sessions."""
