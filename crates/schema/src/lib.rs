//! The schema bundle and what reads it: OpenAPI, pruning, patches, server-side apply, protobuf.
