"""The connector: carries traffic from an edge to local services over connections that this side opens."""
