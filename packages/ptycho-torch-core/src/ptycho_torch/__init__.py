"""Ptychographic reconstruction with neural networks and the physics of the measurement."""
