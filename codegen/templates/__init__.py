"""Loop templates, one file each: how the pieces of a fused group are arranged into loops."""
