"""What every engine's connections and streams have in common: buffers, waiting, errors."""
