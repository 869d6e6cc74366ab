"""Generators of tasks: facts to find again in text, chains, hops, small worlds, lists, copies."""
