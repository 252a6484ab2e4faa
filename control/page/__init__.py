"""The page of the control plane for people: what there is, live, and a new tunnel with its run line."""
