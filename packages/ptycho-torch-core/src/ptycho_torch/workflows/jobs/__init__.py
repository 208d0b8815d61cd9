"""The jobs: train, infer, refine, evaluate."""

__all__: list[str] = []
