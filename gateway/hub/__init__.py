"""IoT Hub's dialect: `grammar` and `twin` (pure), and the session behind them."""
