//! HTTP in, objects out: the Kubernetes API over the store.
