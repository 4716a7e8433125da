"""Applications written on Madang's public API alone."""
