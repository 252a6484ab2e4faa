"""How cost grows with number: streams that are held, streams that are busy, rules, visitors."""
