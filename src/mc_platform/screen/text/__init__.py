"""How a string is read: normalised, decoded, and with its disguises taken off."""
