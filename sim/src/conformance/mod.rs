//! What the service may rely on from `kms::env`, as code that runs on every world.
