"""The graph of tables: one module per room."""
