"""Cap'n Proto messages: framing, a bounded reader, a writer, and the schemas as the tests' oracle."""
