"""Ways in which a scan can be sent, one module each; `ptycho_torch.live.replay.protocols` lists them."""

__all__: list[str] = []
