//! Containers: images, sandboxes, containers, streams and the shim.
