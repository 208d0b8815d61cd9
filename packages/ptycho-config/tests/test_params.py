"""The legacy dictionary itself."""

from __future__ import annotations

from ptycho_config import ModelConfig, params, update_legacy_dict


def test_it_is_an_ordinary_dictionary_that_the_bridge_fills() -> None:
    before = dict(params.cfg)
    try:
        update_legacy_dict(params.cfg, ModelConfig(N=96))
        assert params.cfg["N"] == 96
    finally:
        params.cfg.clear()
        params.cfg.update(before)
