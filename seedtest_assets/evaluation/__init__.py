"""How good the models' predictions are on answers they have not seen, beside naive ones."""
