"""The Device Provisioning Service's dialect: `grammar` (pure) and the session behind it."""
